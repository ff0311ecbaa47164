"""The frame every job stands in: arguments, plan, recognition of finished work, results, exit status.

    python -m jobs.NAME RECIPE.yaml [key=value ...] [--json] [--dry-run [--cluster FILE]] [--force]

A job's run directory is `<output>/jobs/<name>/`: `recipe.yaml` (resolved), `result.json` (written last),
`metrics.jsonl` where the job measures over time, and whatever its report needs. A job is *finished* when its
`result.json` carries the fingerprint of the same recipe, the same inputs and the same version; running it again
then prints the result and does nothing. One driver at a time works on a run (`sole`).
Exit status: 0 done, 1 failed, 2 the recipe or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import atexit
import json
import logging
import os
import re
import secrets
import shutil
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, Field, field_validator

from jobs import config, head
from jobs.clusters import demand
from jobs.clusters.asks import Ask
from jobs.config import RecipeError
from jobs.dry_run import Market, MarketError, Plan, asked, figures
from jobs.sole import Busy, sole_driver
from pipelines import storage
from pipelines.storage import Location

VERSION = "0.1.0"
LOG = "log.txt"
"""Of a run directory: a chain's log of the job, which `--force` leaves, as the chain writes it meanwhile."""


class Recipe(BaseModel, extra="forbid", frozen=True):
    """What every job's recipe has."""

    name: str = Field(description="names the run directory: <output>/jobs/<name>", pattern=r"^[a-z0-9][a-z0-9-]*$")
    output: Location = Field(description="where this run's outputs go: a path or URI")
    seed: int = Field(default=1234, description="every random choice comes from it")
    node_labels: dict[str, str] = Field(
        default_factory=dict,
        description="where its workers run: nodes with these labels (Ray's selectors: a value, !value, in(a, b)), as "
        "{role: data, market: spot}; anywhere if none. The result does not depend on it",
    )

    @field_validator("node_labels")
    @classmethod
    def _are_selectors(cls, labels: dict[str, str]) -> dict[str, str]:
        demand.selectors(labels)
        return labels

    @property
    def run_directory(self) -> str:
        """Where the job keeps its own records."""
        return storage.join(self.output, "jobs", self.name)


@dataclass
class Outcome:
    """What a job leaves: `outputs` name -> location, `metrics` name -> figure, `summary` lines for a person."""

    outputs: dict[str, str]
    metrics: dict[str, Any]
    summary: list[str] = field(default_factory=list)


@dataclass
class Result:
    """`result.json`, and (first five fields) the last line that `--json` prints."""

    job: str
    status: str
    outputs: dict[str, str]
    metrics: dict[str, Any]
    seconds: float
    summary: list[str]
    name: str
    fingerprint: str
    inputs: dict[str, str]
    finished_at: str
    already_done: bool = False

    def line(self) -> str:
        """The machine-readable last line."""
        keys = ("job", "status", "outputs", "metrics", "seconds")
        return json.dumps({key: getattr(self, key) for key in keys}, ensure_ascii=False)


R = TypeVar("R", bound=Recipe)


class InputError(Exception):
    """Something a job reads is missing or not what it should be; the message names it."""


class Job(ABC, Generic[R]):
    """One job: what it reads, what it would do, and doing it."""

    name: ClassVar[str]
    recipe: type[R]

    @abstractmethod
    def inputs(self, recipe: R) -> dict[str, str]:
        """Input name -> fingerprint; with the recipe it decides whether finished work still stands.

        Raises InputError when an input is missing.
        """

    @abstractmethod
    def plan(self, recipe: R) -> Plan:
        """What would be done. Cheap: starts nothing."""

    def asks(self, recipe: R) -> Sequence[Ask]:
        """Its workers, as far as the recipe alone tells; `plan` may know more."""
        return ()

    @abstractmethod
    def run(self, recipe: R) -> Outcome:
        """Do it, on the Ray that `connect()` finds."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Options of this job alone."""

    def instead(self, recipe: R, options: argparse.Namespace) -> Iterable[str] | None:
        """Lines to print rather than run, where one of its options asks for them."""
        return None


def require(location: str, made_by: str) -> str:
    """Fingerprint of a file that an earlier job made.

    Raises InputError when it is not there.
    """
    if not storage.exists(location):
        raise InputError(f"{location}: not there; it is made by {made_by}")
    return storage.file_fingerprint(location)


def require_weights(directory: str, made_by: str) -> str:
    """Fingerprint of the weights of a Hugging Face directory, in one file or several.

    Raises InputError when there are none.
    """
    files = storage.expand(directory) if storage.exists(directory) else []
    found = {path.rsplit("/", 1)[1]: storage.file_fingerprint(path) for path in files if path.endswith(".safetensors")}
    if not found:
        raise InputError(f"{directory}: no .safetensors file; expected a Hugging Face directory, made by {made_by}")
    return storage.fingerprint(found)


def fingerprint(job: Job[R], recipe: R, inputs: dict[str, str]) -> str:
    """Names this work: the same recipe on the same inputs by the same version."""
    # Where it runs changes nothing in what comes out.
    values = recipe.model_dump(mode="json", exclude={"node_labels": True, "target": {"node_labels"}})
    return storage.fingerprint([job.name, VERSION, values, inputs])


def finished(job: Job[R], recipe: R) -> Result | None:
    """The result of this very work if it was done before and its outputs are still there, else None."""
    location = storage.join(recipe.run_directory, "result.json")
    if not storage.exists(location):
        return None
    result = Result(**storage.read_json(location))
    try:
        current = fingerprint(job, recipe, job.inputs(recipe))
    except InputError:
        return None
    whole = all(storage.exists(location) for location in result.outputs.values())
    return result if whole and result.fingerprint == current else None


def authenticate() -> None:
    """Set Ray's token authentication for this process and those below it, before anything imports Ray.

    Ray reads the mode when it is imported. With RAY_ADDRESS the token is the cluster's (RAY_AUTH_TOKEN_PATH,
    RAY_AUTH_TOKEN or ~/.ray/auth_token); a local cluster of this process alone gets a token of its own.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_ADDRESS" not in os.environ and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def connect(labels: Mapping[str, str] | None = None) -> None:
    """Join the Ray cluster that RAY_ADDRESS names, else start a local one that ends with this process.

    Args:
        labels: of the nodes on which this process's datasets run; a local cluster has no labels, and needs none.
    """
    import ray

    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": True, "logging_level": logging.WARNING}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**options)
    else:
        temp_dir = head.session_directory(Path(storage.resolve("runs/.ray")))
        atexit.register(_end_local, temp_dir)
        head.init(_temp_dir=temp_dir, **options)
    import ray.data

    # Our own progress lines say what Ray Data's plans and bars would.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.label_selector = dict(labels) if labels else None


def _end_local(temp_dir: str) -> None:
    """Stop this process's own cluster, and remove its session files."""
    import ray

    ray.shutdown()
    shutil.rmtree(temp_dir, ignore_errors=True)


def main(job: Job[Any], arguments: Sequence[str] | None = None) -> int:
    """Run a job from the command line; returns the exit status."""
    options = _arguments(job, arguments)
    authenticate()
    try:
        recipe = config.load(job.recipe, options.recipe, options.overrides)
        if (lines := job.instead(recipe, options)) is not None:
            for line in lines:
                print(line)
            return 0
        market = Market.of(options)
        plan = job.plan(recipe)
    except (RecipeError, InputError, MarketError) as error:
        for line in str(error).splitlines():
            print(f"jobs.{job.name}: {line}", file=sys.stderr)
        return failed(job.name, str(error), options.json, 2)
    if options.dry_run:
        _show_plan(job, recipe, plan, market, options.json)
        return 0
    if not options.force and _told_finished(job, recipe, options.json):
        return 0
    try:
        with sole_driver(recipe.run_directory) as waited:
            if options.force:
                storage.clear(recipe.run_directory, keep=(LOG,))
            elif waited and _told_finished(job, recipe, options.json):
                return 0
            result = _run(job, recipe)
    except (InputError, Busy) as error:
        print(f"jobs.{job.name}: {error}", file=sys.stderr)
        return failed(job.name, str(error), options.json, 1)
    except Exception as error:  # a job may fail of anything, and always says so
        traceback.print_exc()
        message = f"{type(error).__name__}: {_last_line(error)}"
        print(f"jobs.{job.name}: failed: {message}", file=sys.stderr)
        return failed(job.name, message, options.json, 1)
    _show(result, options.json)
    return 0


def failed(name: str, message: str, as_json: bool, status: int) -> int:
    """The last line of `--json` where a job did not come to its end; gives the exit status back."""
    if as_json:
        told: dict[str, Any] = {"outputs": {}, "metrics": {}, "seconds": None, "error": message}
        print(json.dumps({"job": name, "status": "failed", **told}), flush=True)
    return status


def _told_finished(job: Job[Any], recipe: Recipe, as_json: bool) -> bool:
    """Show the result of this very work, if it was done before."""
    result = finished(job, recipe)
    if result is None:
        return False
    print(f"jobs.{job.name}: {recipe.name} is already done ({recipe.run_directory}); --force does it again")
    _show(result, as_json)
    return True


def _last_line(error: Exception) -> str:
    """What an error says in the end: Ray's carry a worker's whole coloured traceback before it, and advice behind."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = plain.partition("The above exception was the direct cause")[0].strip().splitlines()
    return lines[-1].strip() if lines else ""


def _arguments(job: Job[Any], arguments: Sequence[str] | None) -> argparse.Namespace:
    module = sys.modules[type(job).__module__]
    parser = argparse.ArgumentParser(
        prog=f"python -m jobs.{job.name}", description=(module.__doc__ or "").split("\n")[0]
    )
    parser.add_argument("recipe", help="a recipe (YAML): a path or URI")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted keys of the recipe")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and the plan, do nothing")
    parser.add_argument("--force", action="store_true", help="do it again even if it is done")
    Market.add_arguments(parser)
    job.add_arguments(parser)
    return parser.parse_args(arguments)


def _run(job: Job[R], recipe: R) -> Result:
    inputs = job.inputs(recipe)
    storage.write_bytes(storage.join(recipe.run_directory, "recipe.yaml"), config.dump(recipe).encode())
    storage.remove(storage.join(recipe.run_directory, "result.json"))
    started = time.time()
    outcome = job.run(recipe)
    result = Result(
        job=job.name,
        status="done",
        outputs=outcome.outputs,
        metrics=outcome.metrics,
        seconds=round(time.time() - started, 2),
        summary=outcome.summary,
        name=recipe.name,
        fingerprint=fingerprint(job, recipe, inputs),
        inputs=inputs,
        finished_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    storage.write_json(storage.join(recipe.run_directory, "result.json"), asdict(result))
    return result


def _show(result: Result, as_json: bool) -> None:
    print(f"{result.name}: {result.status} in {result.seconds:.0f} s", flush=True)
    for line in result.summary:
        print(f"  {line}")
    for name, location in result.outputs.items():
        print(f"  {name}: {location}")
    if as_json:
        print(result.line(), flush=True)


def _show_plan(job: Job[R], recipe: R, plan: Plan, market: Market | None, as_json: bool) -> None:
    print(f"# jobs.{job.name}, the resolved recipe")
    print(config.dump(recipe), end="")
    print("# the plan")
    for line in [*plan.work, *asked(plan, recipe.node_labels, market)]:
        print(f"- {line}")
    if as_json:
        told = figures(plan, recipe.node_labels, market)
        print(json.dumps({"job": job.name, "status": "dry-run", "outputs": {}, "metrics": told, "seconds": 0}))
