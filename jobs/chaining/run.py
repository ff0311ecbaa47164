"""Running a chain: what is done is recognised, the rest is run in order, and each change goes into stages.json."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from jobs.chaining.stages import Stage, Stages, loaded
from jobs.job import LOG, Result, finished
from jobs.progress import clock
from pipelines import storage

WAITING, RUNNING, SUCCEEDED, FAILED, STOPPED = "WAITING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"
ENDED = (SUCCEEDED, FAILED, STOPPED)

_RAYS_OWN = re.compile(
    r"\[?\d{4}-\d\d-\d\d [\d:,]+(\t(INFO|WARNING)| [IWE] )|Running entrypoint for job |(\x1b\[\d+m)?\(\w[^()]* pid=\d+"
)
"""Lines of a job's log that stay in its file and off the screen: Ray's, and those of its workers."""


class StageFailed(Exception):
    """A stage did not succeed; the message says which, how, and where its log is. `exit_code` is the stage's own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ChainStopped(Exception):
    """Somebody stopped the chain; the message says at which stage."""


@dataclass(frozen=True)
class Ended:
    """How a stage ended: a status of `ENDED`, its exit code, the log's last lines, the peak memory of its processes
    (None: not known), and its id on the cluster (empty: none of its own).
    """

    status: str
    exit_code: int
    last_lines: tuple[str, ...]
    peak_memory_bytes: int | None = None
    submission_id: str = ""


class Runner(Protocol):
    """How a stage is run: as a process, or as a Ray job of its own."""

    def run(self, stage: Stage, recipe: str, label: str, emit: Callable[[str], None]) -> Ended:
        """Bring a stage to its end: its job, on the recipe, with its words. Each line of its log goes to `emit`."""


class Chain:
    """The run of a chain.

    Attributes:
        records: of each stage, in order: `stage`, `job`, `status`, `started_at` (seconds since 1970), `seconds`,
            `exit_code`, `peak_memory_bytes`, `submission_id`; None where there is nothing to say. It is what
            stages.json holds.

    Args:
        stages: what is run.
        runner: how.
        tell: called with the records after each change of a stage's status.
    """

    def __init__(self, stages: Stages, runner: Runner, tell: Callable[[list[dict[str, Any]]], None]) -> None:
        self._stages, self._runner, self._tell = stages, runner, tell
        self.output = storage.resolve(stages.output)
        before = {record["stage"]: record for record in read_records(self.output)}
        self.records = [_record(stage, before.get(stage.name, {})) for stage in stages.stages]

    def run(self, first: str | None = None) -> None:
        """Bring every stage to its end.

        Args:
            first: the stage to begin with; those before it are taken as they are.

        Raises:
            StageFailed: one did not succeed.
            ChainStopped: the running one was stopped.
            RecipeError: one's recipe is wrong.
        """
        names = [stage.name for stage in self._stages.stages]
        begin = 0 if first is None else names.index(first)
        self._mark_waiting(begin)
        for number, stage in enumerate(self._stages.stages[begin:], start=begin):
            label = f"[{number + 1}/{len(names)}] {stage.name}"
            result = self.standing(stage)
            if result is not None:
                print(f"{label}: already done ({clock(result.seconds)})", flush=True)
                took = self.records[number]["seconds"]
                self._change(number, status=SUCCEEDED, seconds=result.seconds if took is None else took, exit_code=0)
                continue
            self._run(number, stage, label)

    def standing(self, stage: Stage) -> Result | None:
        """The stage's result if this very work was done before, and is not to be done again."""
        if stage.force or not self._stages.written(stage):
            return None
        return finished(*loaded(stage, self._stages.recipe_of(stage)))

    def _run(self, number: int, stage: Stage, label: str) -> None:
        started = time.time()
        self._change(number, status=RUNNING, started_at=round(started, 1), seconds=None, exit_code=None)
        place = storage.join(self.output, "jobs", stage.name, LOG)
        try:
            with _Log(place, stage.name) as log:
                ended = self._runner.run(stage, self._stages.recipe_of(stage), label, log.add)
        except BaseException:  # raised again; the account tells of Ctrl-C too
            self._change(number, status=STOPPED, seconds=round(time.time() - started, 1))
            raise
        seconds = time.time() - started
        self._change(
            number,
            status=ended.status,
            seconds=round(seconds, 1),
            exit_code=ended.exit_code,
            peak_memory_bytes=ended.peak_memory_bytes,
            submission_id=ended.submission_id,
        )
        if ended.status == STOPPED:
            raise ChainStopped(f"stopped in stage {stage.name}; {_again(stage)} to go on: finished stages are kept")
        if ended.status != SUCCEEDED:
            raise StageFailed(_failure(stage, ended, place), ended.exit_code)
        memory = "" if ended.peak_memory_bytes is None else f", peak memory {ended.peak_memory_bytes / 1e9:.1f} GB"
        print(f"{label}: done in {clock(seconds)}{memory}", flush=True)

    def _mark_waiting(self, begin: int) -> None:
        for stage, record in zip(self._stages.stages[begin:], self.records[begin:], strict=True):
            if stage.force or record["status"] != SUCCEEDED:
                record |= {"status": WAITING, "started_at": None, "seconds": None, "exit_code": None}
        self._write()

    def _change(self, number: int, **values: Any) -> None:
        self.records[number] |= values
        self._write()
        self._tell(self.records)

    def _write(self) -> None:
        storage.write_json(storage.join(self.output, "stages.json"), self.records)


class _Log:
    """A stage's log: on the screen as it comes, without Ray's own lines; and whole in its file.

    Args:
        place: of the file. On a disk it grows line by line, on an object store it is written at the end.
        name: stands before each line on the screen.
    """

    def __init__(self, place: str, name: str) -> None:
        self._place, self._name = place, name
        self._file: TextIO = io.StringIO()

    def __enter__(self) -> _Log:
        if "://" not in self._place:
            path = Path(self._place)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8", buffering=1)
        return self

    def __exit__(self, *error: object) -> None:
        if isinstance(self._file, io.StringIO):
            storage.write_bytes(self._place, self._file.getvalue().encode())
        self._file.close()

    def add(self, line: str) -> None:
        """One more line."""
        self._file.write(f"{line}\n")
        if not _RAYS_OWN.match(line):
            print(f"  {self._name} | {line}", flush=True)


def read_records(output: str) -> list[dict[str, Any]]:
    """What stages.json of a chain's output holds; nothing where it is not there."""
    location = storage.join(output, "stages.json")
    records: list[dict[str, Any]] = storage.read_json(location) if storage.exists(location) else []
    return records


def table(records: list[dict[str, Any]]) -> list[str]:
    """The records as lines: stage, status, time."""
    width = max(len(record["stage"]) for record in records)
    lines = []
    for record in records:
        took = "" if record["seconds"] is None else f"{clock(record['seconds']):>12}"
        if record["status"] == RUNNING and record["started_at"] is not None:
            took = f"  since {time.strftime('%H:%M:%S', time.localtime(record['started_at']))}"
        code = f"  exit code {record['exit_code']}" if record["exit_code"] else ""
        lines.append(f"  {record['stage']:<{width}}  {record['status'].lower():<9}{took}{code}")
    return lines


def _record(stage: Stage, before: dict[str, Any]) -> dict[str, Any]:
    keys = ("status", "started_at", "seconds", "exit_code", "peak_memory_bytes", "submission_id")
    return {"stage": stage.name, "job": stage.job, **{key: before.get(key) for key in keys}} | (
        {} if before else {"status": WAITING}
    )


def _failure(stage: Stage, ended: Ended, log: str) -> str:
    last = "\n".join(f"  {line}" for line in ended.last_lines[-3:])
    return (
        f"stage {stage.name} ended {ended.status} (exit code {ended.exit_code}); its last lines:\n{last}\n"
        f"the whole log: {log}\nput right what it says and {_again(stage)}: finished stages are kept"
    )


def _again(stage: Stage) -> str:
    return "run it again without --force" if stage.force else "run it again"
