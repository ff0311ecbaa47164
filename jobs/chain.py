"""Run a chain of jobs as one: curate, tokenize, tune, pretrain, evaluate, …, each when the one before is done.

    python -m jobs.chain CHAIN.yaml|DIR [STAGE.key=value ...] [--from STAGE] [--force] [--json]
        [--dry-run [--cluster FILE]]
    python -m jobs.submit chain CHAIN.yaml          # the same as one Ray job, whose driver runs on the cluster's head

Each stage is a process of its own, which joins the cluster that RAY_ADDRESS names: its memory goes when it ends, and
its exit code and log (`<output>/jobs/<stage>/log.txt`) are its own. A stage that is done is recognised; one that was
cut short goes on where it was. With `--force` each stage is done again; with `--from` too, each from that one on.
SIGTERM and Ctrl-C reach the running stage, which may write a checkpoint first. So does the end of the chain itself,
however it comes: no stage works on beside those of the next chain. `<output>/stages.json` holds how each stage stands.
Exit status: 0 done, 2 a recipe is wrong, 130 stopped, else the failed stage's own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

from jobs.chaining.run import FAILED, STOPPED, SUCCEEDED, Chain, ChainStopped, Ended, StageFailed, table
from jobs.chaining.stages import Stage, Stages, load, loaded
from jobs.config import RecipeError
from jobs.dry_run import Market, MarketError, Plan, asked, figures
from jobs.job import InputError, authenticate, failed, finished
from jobs.memory import PeakMemory

_LAST_LINES = 20


class Processes:
    """Runs each stage as a process of this machine; `stop` ends the running one, in its own time.

    Peak memory is that of the process and its children where these are the whole cluster; else it is not known.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._process: subprocess.Popen[str] | None = None

    def run(self, stage: Stage, recipe: str, label: str, emit: Callable[[str], None]) -> Ended:
        """See `Runner`."""
        if self.stopped:
            return Ended(STOPPED, 130, ())
        command = [sys.executable, "-m", f"jobs.{stage.job}", recipe, *stage.words]
        process = self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=partial(_ends_with, os.getpid()),  # noqa: PLW1509 (system calls alone: they take no lock of another thread's)
        )
        if self.stopped:
            process.terminate()
        print(f"{label}: started as process {process.pid}", flush=True)
        last: deque[str] = deque(maxlen=_LAST_LINES)
        assert process.stdout is not None
        with PeakMemory(lambda: _below(process.pid)) as memory:
            for line in process.stdout:
                last.append(line.rstrip("\n").rpartition("\r")[2])
                emit(last[-1])
            code = process.wait()
        self._process = None
        status = STOPPED if self.stopped and code else SUCCEEDED if code == 0 else FAILED
        alone = "RAY_ADDRESS" not in os.environ
        return Ended(status, code, tuple(last), memory.peak_bytes if alone else None)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """A signal's handler: passes it on as SIGTERM, which a training answers with a checkpoint."""
        self.stopped = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


def plans(stages: Stages, market: Market | None) -> list[dict[str, Any]]:
    """For each stage what it would do: `state` (`done`, `ready`, `waits`), `work`, `asks` in words, and figures.

    Raises:
        RecipeError: a recipe is wrong.
    """
    return [_plan(stages, stage, market) for stage in stages.stages]


def lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """The plans for a person."""
    text = []
    for plan in found:
        text.append(f"{plan['stage']} (jobs.{plan['job']}): {plan['state']}")
        text += [f"  {line}" for line in [*plan["work"], *plan["asks"]]]
    hourly = [plan["dollars_per_hour_most"] for plan in found if plan.get("dollars_per_hour_most") is not None]
    if hourly:
        known = [plan["dollars"] for plan in found if plan.get("dollars") is not None]
        total = f"; ${sum(known):,.2f} for the {len(known)} stages whose time is known" if known else ""
        text.append(f"all stages, one after the other: at most ${max(hourly):,.2f} an hour, without the head{total}")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options = _arguments(arguments)
    authenticate()
    try:
        market = Market.of(options)
        stages = load(options.place, options.overrides)
        if options.first is not None:
            _known(stages, options.first)
        if options.force:
            stages = stages.forced(options.first)
        if options.dry_run:
            _show(plans(stages, market), options.json)
            return 0
        processes = Processes()
        chain = Chain(stages, processes, lambda records: print("\n".join(table(records)), flush=True))
    except (RecipeError, MarketError) as error:
        print(f"jobs.chain: {error}", file=sys.stderr)
        return failed("chain", str(error), options.json, 2)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, processes.stop)
    started, status, code, message = time.monotonic(), "done", 0, ""
    try:
        chain.run(options.first)
    except ChainStopped as error:
        status, code, message = "stopped", 130, str(error)
    except StageFailed as error:
        status, code, message = "failed", error.exit_code, str(error)
    except RecipeError as error:
        status, code, message = "failed", 2, str(error)
    if message:
        print(f"jobs.chain: {message}", file=sys.stderr, flush=True)
    if options.json:
        told = {"stages": chain.records}
        line = {"job": "chain", "status": status, "outputs": {"output": chain.output}, "metrics": told}
        print(json.dumps({**line, "seconds": round(time.monotonic() - started, 2)}), flush=True)
    return code if 0 <= code < 256 else 1


def _plan(stages: Stages, stage: Stage, market: Market | None) -> dict[str, Any]:
    about: dict[str, Any] = {"stage": stage.name, "job": stage.job}
    path = stages.recipe_of(stage)
    if not stages.written(stage):
        return {**about, "state": "waits", "work": [f"{path}: not there; it is made by {stage.recipe_of}"], "asks": []}
    job, recipe = loaded(stage, path)
    try:
        job.inputs(recipe)
        plan = job.plan(recipe)
        state = "ready" if stage.force or finished(job, recipe) is None else "done"
    except InputError as error:
        plan, state = Plan([str(error)], job.asks(recipe)), "waits"
    labels = recipe.node_labels
    asks = asked(plan, labels, market) if state == "ready" or plan.asks else []
    return {**about, "state": state, "work": plan.work, "asks": asks, **figures(plan, labels, market)}


def _show(found: Sequence[dict[str, Any]], as_json: bool) -> None:
    print("\n".join(lines(found)))
    if as_json:
        line = {"job": "chain", "status": "dry-run", "outputs": {}, "metrics": {"stages": list(found)}, "seconds": 0}
        print(json.dumps(line))


def _known(stages: Stages, name: str) -> None:
    names = [stage.name for stage in stages.stages]
    if name not in names:
        raise RecipeError(f"--from {name}: no such stage; there are {', '.join(names)}")


_LIBC = ctypes.CDLL(None)
_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2), which Linux alone has."""


def _ends_with(parent: int) -> None:
    """In the child, before its program: SIGTERM once the parent is gone, however it went."""
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def _below(pid: int) -> list[int]:
    import psutil

    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.chain", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("place", metavar="CHAIN.yaml|DIR", help="a chain's recipe, or a directory of recipes")
    parser.add_argument("overrides", nargs="*", metavar="STAGE.key=value", help="dotted keys of one stage's recipe")
    parser.add_argument("--from", dest="first", metavar="STAGE", help="begin there; what is before is taken as it is")
    parser.add_argument("--force", action="store_true", help="do each stage again (those of --from) even if it is done")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--dry-run", action="store_true", help="print each stage's plan, do nothing")
    Market.add_arguments(parser)
    return parser.parse_intermixed_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
