"""The jobs by their names."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from jobs.config import RecipeError
from jobs.job import Job
from pipelines import storage


def known_jobs() -> list[str]:
    """The names of modules that hold a job."""
    return [path.stem for path in (storage.checkout() / "jobs").glob("*.py") if "\nJOB = " in path.read_text()]


def load_job(name: str) -> Job[Any]:
    """The job of a module `jobs.NAME`. Raises RecipeError, with the nearest name, when there is none."""
    known = known_jobs()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
        raise RecipeError(f"{name}: no such job; {hint}")
    job: Job[Any] = importlib.import_module(f"jobs.{name}").JOB
    return job
