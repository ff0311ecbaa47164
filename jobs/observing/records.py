"""What jobs keep in files of their own: a chain's stages, a search's trials. A job's command says where they are.

Where this machine cannot read a recipe or a record, there is none.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jobs.config import RecipeError
from pipelines import storage

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from jobs.tune import TuneRecipe

_STAGES = "stages.json"


def chains(jobs: list[JobDetails]) -> list[dict[str, Any]]:
    """Chains that run, or else the newest one, with the stages of each; `stages` is None where they cannot be read."""
    found = []
    for job in _current(jobs, "jobs.chain"):
        places = _chain(job.entrypoint or "", _home(job))
        record = read(storage.join(places[0], _STAGES)) if places else None
        found.append({**_named(job), "stages": record if isinstance(record, list) else None})
    return found


def searches(jobs: list[JobDetails]) -> list[dict[str, Any]]:
    """Searches that run, or else the newest one, with the trials of each; those of chains too, once they have begun.

    `trials` is None where they cannot be read.
    """
    found = []
    for job in _current(jobs, "jobs.tune"):
        place = _search(job.entrypoint or "", _home(job))
        found.append({**_named(job), "trials": _trials(place)})
    for job in _current(jobs, "jobs.chain"):
        _, *places = _chain(job.entrypoint or "", _home(job)) or [""]
        found += [{**_named(job), "trials": trials} for place in places if (trials := _trials(place)) is not None]
    return found


def read(location: str) -> Any:
    """A JSON file; None where it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return storage.read_json(location) if storage.exists(location) else None
    return None


def _trials(location: str | None) -> list[dict[str, Any]] | None:
    record = read(location) if location else None
    trials = record.get("trials") if isinstance(record, dict) else None
    return trials if isinstance(trials, list) else None


def _named(job: JobDetails) -> dict[str, Any]:
    return {"job": job.submission_id, "status": job.status.value}


def _home(job: JobDetails) -> str | None:
    variables: dict[str, str] = (job.runtime_env or {}).get("env_vars") or {}
    return variables.get(storage.HOME_VARIABLE)


def _current(jobs: list[JobDetails], module: str) -> list[JobDetails]:
    found = [job for job in jobs if _module(job.entrypoint) == module]
    return [job for job in found if job.status.value == "RUNNING"] or found[:1]


def _words(entrypoint: str | None) -> list[str]:
    try:
        return shlex.split(entrypoint or "")
    except ValueError:
        return []


def _module(entrypoint: str | None) -> str:
    """Of `python -m MODULE …`."""
    words = _words(entrypoint)
    return words[words.index("-m") + 1] if "-m" in words[:-1] else ""


def _given(entrypoint: str) -> tuple[str, list[str]]:
    """A command's recipe and its overrides."""
    words = [word for word in _words(entrypoint)[3:] if not word.startswith("--")] or [""]
    return words[0], [word for word in words[1:] if "=" in word]


@functools.lru_cache
def _search(entrypoint: str, home: str | None) -> str | None:
    """Where a search keeps its trials."""
    from jobs import config
    from jobs.tune import TuneRecipe

    with contextlib.suppress(RecipeError, OSError, ValueError), _at(home):
        return _record_of(config.load(TuneRecipe, *_given(entrypoint)))
    return None


@functools.lru_cache
def _chain(entrypoint: str, home: str | None) -> list[str] | None:
    """Where a chain keeps its stages, and its searches their trials."""
    from jobs.chaining import stages
    from jobs.tune import TuneRecipe

    with contextlib.suppress(RecipeError, OSError, ValueError), _at(home):
        chain = stages.load(*_given(entrypoint))
        recipes = [
            stages.loaded(stage, chain.recipe_of(stage))[1]
            for stage in chain.stages
            if stage.job == "tune" and not stage.recipe_of
        ]
        return [chain.output, *(_record_of(recipe) for recipe in recipes if isinstance(recipe, TuneRecipe))]
    return None


def _record_of(recipe: TuneRecipe) -> str:
    from jobs.tune import SEARCH

    return storage.join(recipe.run_directory, SEARCH)


@contextlib.contextmanager
def _at(home: str | None) -> Iterator[None]:
    """Relative locations are below this home, as they are for the job."""
    before = os.environ.get(storage.HOME_VARIABLE)
    try:
        if home is not None:
            os.environ[storage.HOME_VARIABLE] = home
        yield
    finally:
        if home is not None:
            os.environ.pop(storage.HOME_VARIABLE)
        if home is not None and before is not None:
            os.environ[storage.HOME_VARIABLE] = before
