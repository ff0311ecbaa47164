"""The whole of groundwork on this machine: real text in, an evaluated and specialised model and a report out.

    python -m jobs.quickstart [--keep] [--recipes DIR] [--sources DIR]

Fetches text, starts a Ray head with its dashboard, submits every stage as a Ray job, one after the other, and stops
the head. Stages that are finished are recognised; when all are, no cluster is started. `--keep` leaves it up.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from jobs import fetch, head, submit
from jobs.chaining.run import Chain, ChainStopped, Ended, StageFailed
from jobs.chaining.stages import STAGES as STAGES
from jobs.chaining.stages import Stage, load
from jobs.config import RecipeError
from jobs.fetching.archives import FetchError
from jobs.memory import PeakMemory
from jobs.progress import clock
from jobs.submit import SubmitError
from pipelines import storage

RECIPES = "jobs/recipes/quickstart"
SOURCES = "runs/sources"


class Quickstart:
    """The chain on a local head: each stage a Ray job of its own.

    Args:
        recipes: the directory of the stages' recipes.
        keep: leave the cluster up at the end.
    """

    def __init__(self, recipes: Path, keep: bool = False) -> None:
        self.keep = keep
        self.head: head.Head | None = None
        self._chain = Chain(load(str(recipes)), self, lambda records: None)
        self.output = self._chain.output
        self._running: submit.Submission | None = None

    def go(self) -> None:
        """Bring every stage to its end, in order. Raises StageFailed, RecipeError or SubmitError."""
        self._chain.run()

    def close(self) -> None:
        """Stop the running job and the cluster (unless it is kept and nothing was running)."""
        if self.head is None:
            return
        if self._running is not None:
            print(f"stopping {self._running.submission_id}", flush=True)
            try:
                submit.stop(submit.connect(self.head.dashboard), self._running, timeout_seconds=60)
            except (SubmitError, RuntimeError, OSError) as error:
                print(f"it could not be stopped by name ({error}); it ends with the cluster")
        elif self.keep:
            _kept_head().write_text(json.dumps(asdict(self.head)))
            return
        head.stop(self.head)
        _kept_head().unlink(missing_ok=True)
        self.head = None

    def run(self, stage: Stage, recipe: str, label: str, emit: Callable[[str], None]) -> Ended:
        """See `Runner`: a Ray job, with the memory of the whole cluster."""
        cluster = self._cluster()
        client = submit.connect(cluster.dashboard)
        self._running = submission = submit.submit(
            client,
            stage.job,
            recipe,
            stage.words,
            variables={"RAY_ADDRESS": cluster.address},
            label=stage.name,
        )
        print(f"{label}: started as {submission.submission_id}", flush=True)
        with PeakMemory(lambda: head.processes(cluster)) as memory:
            ending = submit.follow(client, submission, emit)
        self._running = None
        return Ended(
            ending.status,
            ending.exit_code,
            ending.last_lines,
            memory.peak_bytes,
            submission_id=submission.submission_id,
        )

    def _cluster(self) -> head.Head:
        if self.head is None:
            self.head = _reusable_head()
            self.keep = self.keep or self.head is not None
            if self.head is None:
                print("starting a Ray head", flush=True)
                self.head = head.start(Path(storage.resolve("runs")))
            os.environ.pop("RAY_AUTH_TOKEN", None)  # it would win over the head's token file
            os.environ.update(self.head.environment())
            print(f"dashboard: {self.head.dashboard}   (it asks for a token: the text in {self.head.token_file})")
        return self.head


def summary(output: str) -> list[str]:
    """One screen: what was read, kept, trained and reached, where things are, and what to try next."""
    report = storage.read_json(storage.join(output, "summary.json"))
    lines = ["", f"groundwork: {report['title']}"]
    width = max((len(figure["label"]) for figure in report["headline"]), default=0)
    for figure in report["headline"]:
        note = f"  ({figure['note']})" if figure.get("note") else ""
        lines.append(f"  {figure['label']:<{width}}  {figure['value']}{note}")
    lines += ["", *(f"  {name:<12} {place}" for name, place in _places(output))]
    lines += ["", "next: " + _next_command(output), ""]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status is 0 when done, 1 a stage failed, 2 a recipe is wrong, 130 stopped."""
    options = _arguments(arguments)
    os.environ.setdefault(storage.HOME_VARIABLE, str(storage.checkout()))
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        _sources(options.sources)
        quickstart = Quickstart(Path(options.recipes), options.keep)
    except (FetchError, RecipeError, SubmitError, OSError) as error:
        print(f"jobs.quickstart: {error}", file=sys.stderr)
        return 1 if isinstance(error, FetchError) else 2
    status = 0
    try:
        quickstart.go()
    except KeyboardInterrupt:
        print("\nstopped; run it again to go on: finished stages are kept", flush=True)
        status = 130
    except (StageFailed, ChainStopped, SubmitError, RecipeError, RuntimeError) as error:
        print(f"jobs.quickstart: {error}", file=sys.stderr, flush=True)
        status = 2 if isinstance(error, RecipeError) else 1
    finally:
        quickstart.close()
    if status == 0:
        print("\n".join(summary(quickstart.output)))
        print(f"quickstart: done in {clock(time.monotonic() - started)}")
    if quickstart.head is not None:
        print("the cluster is still up; to use it, then to stop it:")
        print("  export " + " ".join(f"{key}={value}" for key, value in quickstart.head.environment().items()))
        print(f"  kill {quickstart.head.pid}")
    return status


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.quickstart", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave the cluster up at the end")
    parser.add_argument("--recipes", default=str(storage.checkout() / RECIPES), help="the stages' recipes")
    parser.add_argument("--sources", help=f"a directory of sources that is used as it is (default: fetch {SOURCES})")
    return parser.parse_args(arguments)


def _sources(given: str | None) -> None:
    """Fetch the text, or see that a given directory of sources is there."""
    if given is None:
        record: dict[str, Any] = fetch.fetch(Path(storage.resolve(SOURCES)))
        documents = sum(source["documents"] for source in record["sources"])
        print(f"sources: {documents:,} documents and rows in {storage.resolve(SOURCES)}", flush=True)
    elif not Path(storage.resolve(given)).is_dir():
        raise FileNotFoundError(f"{given}: no such directory of sources")


def _places(output: str) -> list[tuple[str, str]]:
    names = ("report.html", "summary.json", "corpus", "rejects", "tokens", "recipe.yaml")
    exports = ("export", "export-masked", "export-translator")
    return [
        (name, storage.join(output, name)) for name in (*names, *exports) if storage.exists(storage.join(output, name))
    ]


def _next_command(output: str) -> str:
    recipe = _near(str(storage.checkout() / RECIPES / "generate.yaml"))
    return f"python -m jobs.generate {recipe} output={_near(output)}-mine model={_near(storage.join(output, 'export'))}"


def _near(location: str) -> str:
    """A location below the current directory as people type it, else as it is."""
    here = os.getcwd() + os.sep
    return location.removeprefix(here)


def _kept_head() -> Path:
    return Path(storage.resolve("runs/.ray/kept.json"))


def _reusable_head() -> head.Head | None:
    """The head that an earlier `--keep` left up, if it still answers."""
    try:
        kept = head.Head(**json.loads(_kept_head().read_text()))
        os.environ.update(kept.environment())
        submit.connect(kept.dashboard)
    except (FileNotFoundError, ValueError, TypeError, SubmitError):
        return None
    return kept


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
