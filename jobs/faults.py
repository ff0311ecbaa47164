"""Kill a training again and again, and prove that it ends as if nothing had been.

    python -m jobs.faults RECIPE.yaml [key=value ...] [--every 60] [--kills 3] [--kinds worker,driver] [--json]

The recipe is one of jobs.pretrain. It is trained twice on the cluster that RAY_ADDRESS names (or a local one): as
NAME-calm, which nobody disturbs, and as NAME-struck, of which a random worker, or the driver, is killed with SIGKILL
every so often. Then weights and losses are compared. Only processes of this very run are killed.
Exit status: 0 the same, 1 not, or it ended before anything was killed, 2 the recipe or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs import config, head
from jobs.config import RecipeError
from jobs.pretrain import PretrainRecipe
from pipelines import storage

KINDS = ("worker", "driver")
_FIRST_SECONDS = 600.0
"""So long the first steps may take to come."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", help="a recipe of jobs.pretrain")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between kills, on average")
    parser.add_argument("--kills", type=int, default=3, help="then it is left alone")
    parser.add_argument("--kinds", default="worker", help=f"what is killed, of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=1, help="of the times and the victims")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args(arguments)
    kinds = options.kinds.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"--kinds: {', '.join(unknown)}: expected some of {', '.join(KINDS)}")
    try:
        recipe = config.load(PretrainRecipe, options.recipe, options.overrides)
    except RecipeError as error:
        print(f"jobs.faults: {error}", file=sys.stderr)
        return 2
    with _cluster() as environment:
        calm, struck = (_run(options, recipe, how, environment) for how in ("calm", "struck"))
        for run, kills in ((calm, 0), (struck, options.kills)):
            if (code := run.go(kills, kinds)) != 0:
                print(f"jobs.faults: {run.recipe.name} ended with exit status {code}", file=sys.stderr)
                return 1
    found = compared(calm.recipe.run_directory, struck.recipe.run_directory, struck.kills)
    print("\n".join(lines(found)))
    if options.json:
        print(json.dumps(found))
    struck_at_all = bool(struck.kills) or not options.kills
    return 0 if struck_at_all and (found["equal"] or found["within"]) else 1


@contextlib.contextmanager
def _cluster() -> Iterator[dict[str, str]]:
    """The environment of drivers on the cluster that is named, or on one that is started for the while."""
    if "RAY_ADDRESS" in os.environ:
        yield dict(os.environ)
        return
    with head.running(Path(storage.resolve("runs"))) as local:
        os.environ |= local.environment()
        yield dict(os.environ)


def _run(options: argparse.Namespace, recipe: PretrainRecipe, how: str, environment: dict[str, str]) -> Run:
    changes = [f"name={recipe.name}-{how}", f"export={recipe.export}-{how}", "training.max_failures=-1"]
    command = [sys.executable, "-m", "jobs.pretrain", options.recipe, *options.overrides, *changes]
    recipe = config.load(PretrainRecipe, options.recipe, [*options.overrides, *changes])
    return Run(recipe, command, environment, options.every, options.seed)


class Run:
    """One of the two trainings.

    Attributes:
        recipe: its own, by its name.
        kills: (seconds since the start, kind, what).

    Args:
        recipe: see above.
        command: that drives it.
        environment: of the driver.
        every: seconds between kills, on average.
        seed: of the times and the victims.
    """

    def __init__(
        self, recipe: PretrainRecipe, command: Sequence[str], environment: dict[str, str], every: float, seed: int
    ) -> None:
        self.recipe, self._command, self._environment = recipe, list(command), environment
        self._every, self._draw = every, random.Random(seed)
        self.kills: list[tuple[float, str, str]] = []

    def go(self, kills: int, kinds: Sequence[str]) -> int:
        """Train from the beginning; the driver's exit status."""
        driver = self._drive("training.resume=false", "--force") if kills else self._drive()
        began, struck = time.monotonic(), self._progress().get("processes")
        try:
            for _ in range(kills):
                # Nothing is proved by killing what has not trained since the last time.
                there = self._training(driver, struck)
                if not there:
                    break
                if not _sleep(driver, self._draw.expovariate(1 / self._every)):
                    break
                struck, kind = there, self._draw.choice(list(kinds))
                if kind == "driver":
                    driver.kill()
                    driver.wait()
                    what, driver = f"process {driver.pid}", self._drive()
                else:
                    what = self._kill_worker(there)
                self.kills.append((round(time.monotonic() - began, 1), kind, what))
                print(f"jobs.faults: {self.kills[-1][0]:.0f} s: killed the {kind}: {what}", flush=True)
            code = driver.wait()
            if code == 0 and len(self.kills) < kills:
                print(f"jobs.faults: {len(self.kills)} of {kills} kills came before the end: lower --every", flush=True)
            return code
        finally:
            if driver.poll() is None:
                driver.terminate()

    def _drive(self, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._command, *more], env=self._environment)

    def _progress(self) -> dict[str, Any]:
        location = storage.join(self.recipe.run_directory, "progress.json")
        found: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            found = storage.read_json(location)
        return found if found.get("phase") == "training" and "loss" in found else {}

    def _training(self, driver: subprocess.Popen[bytes], before: Any) -> list[tuple[str, int]]:
        """Wait until other processes than before have done steps; (node, process) by rank, none where it ended."""
        began = time.monotonic()
        while (found := self._progress().get("processes")) in (None, before):
            if driver.poll() is not None or time.monotonic() - began > _FIRST_SECONDS:
                return []
            time.sleep(0.2)
        return list(found)

    def _kill_worker(self, processes: Sequence[tuple[str, int]]) -> str:
        """SIGKILL for one of the run's workers, wherever it is; who it was."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        rank, (node, pid) = self._draw.choice(list(enumerate(processes)))
        if not ray.is_initialized():
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        ray.get(ray.remote(num_cpus=0)(_kill).options(scheduling_strategy=there).remote(pid))
        return f"rank {rank}, process {pid} on node {node[:8]}"


def _kill(pid: int) -> None:
    import os
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _sleep(driver: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the driver still goes on after so many seconds."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.wait(seconds)
    return driver.poll() is None


def compared(calm: str, struck: str, kills: Sequence[tuple[float, str, str]] = ()) -> dict[str, Any]:
    """What two trainings of one recipe have in common, as plain values.

    Args:
        calm: run directory of the one that nobody disturbed.
        struck: of the other one.
        kills: what was done to it.
    """
    from models.training.conversion import weights
    from models.training.journal import read_journal
    from models.training.timeline import timeline

    summaries = [storage.read_json(storage.join(directory, "final", "summary.json")) for directory in (calm, struck)]
    ours, theirs = (weights(summary["checkpoint"]) for summary in summaries)
    equal = ours.keys() == theirs.keys() and all(bool((ours[name] == theirs[name]).all()) for name in ours)
    one, other = (_losses(directory) for directory in (calm, struck))
    difference = max((abs(one[step] - other[step]) for step in one.keys() & other.keys()), default=0.0)
    return {
        "equal": equal,
        "within": one.keys() == other.keys() and difference <= 1e-4,
        "loss_difference": difference,
        "steps": len(one),
        "steps_struck": len(other),
        "kills": [{"seconds": seconds, "kind": kind, "what": what} for seconds, kind, what in kills],
        **timeline(read_journal(struck)).figures(),
    }


def _losses(directory: str) -> dict[int, float]:
    lines = storage.read_bytes(storage.join(directory, "metrics.jsonl")).decode().splitlines()
    found = [json.loads(line) for line in lines]
    return {line["step"]: line["loss"] for line in found if line.get("loss") is not None and "learning_rate" in line}


def lines(found: dict[str, Any]) -> list[str]:
    """The comparison in words."""
    weights = "the same bit for bit" if found["equal"] else "not the same bit for bit"
    seconds = ", ".join(f"{each:.0f}" for each in found["recovery_seconds"])
    return [
        f"final weights: {weights}",
        f"losses: {found['steps_struck']:,} of {found['steps']:,} steps, at most {found['loss_difference']:.2g} apart",
        f"{len(found['kills'])} kills, {found['attempts']} attempts, {found['lost_steps']} steps done twice, back "
        f"after {seconds or '–'} s, goodput {found['goodput']:.0%}",
    ]


if __name__ == "__main__":
    sys.exit(main())
