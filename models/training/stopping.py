"""A training that is told to stop (SIGTERM, as of `ray job stop`; Ctrl-C) writes a checkpoint first."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from models.training.checkpoint import Checkpoints
from models.training.spec import CHECKPOINTS, PROGRESS
from models.training.storage import open_location, read_file, write_file
from models.training.workers import Workers

STOP = "stop"
"""File of the run directory that asks the workers for a checkpoint: milliseconds since 1970."""
_WAIT_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
"""How long Ray gives a stopped job; jobs.submit sets it."""
_MARGIN_SECONDS = 10.0
_LOOKS_SECONDS = 0.2
_REQUESTS_SECONDS = 1.0


@contextlib.contextmanager
def stops_with_checkpoint(run_directory: str, name: str) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGINT end the process (128 + the signal) once a checkpoint is complete.

    Those that follow the first change nothing, but Ctrl-C again ends it at once. In threads other than the main one
    nothing is done: only that one may handle signals.

    Args:
        run_directory: of the run.
        name: of the run, before what is said.
    """
    began = time.time()
    _forget(run_directory)
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, lambda again, frame: sys.exit(128 + again))
        _say(f"{name}: told to stop; a checkpoint first")
        step = _save(run_directory, began)
        kept = "no checkpoint" if step is None else f"the checkpoint of step {step:,}"
        _say(f"{name}: stopped with {kept}; the same command goes on from there")
        sys.exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _forget(run_directory)


class StopRequests:
    """Looks every second whether somebody asked a run to stop, in a thread: storage takes its time, steps must not.

    Args:
        run_directory: of the run.

    Attributes:
        asked: when somebody did, in milliseconds since 1970; None: nobody yet.
    """

    def __init__(self, run_directory: str) -> None:
        self.asked: float | None = None
        self._location = f"{run_directory}/{STOP}"
        threading.Thread(target=self._look, name="stop-requests", daemon=True).start()

    def _look(self) -> None:
        while True:
            # What cannot be read now is read in a second.
            with contextlib.suppress(OSError, ValueError):
                content = read_file(self._location)
                self.asked = None if content is None else float(content)
            time.sleep(_REQUESTS_SECONDS)


def _say(line: str) -> None:
    # Where the one who reads has been killed there is nobody to tell, but a checkpoint to write.
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _forget(run_directory: str) -> None:
    files, path = open_location(f"{run_directory}/{STOP}")
    with contextlib.suppress(FileNotFoundError):
        files.delete_file(path)


def _save(run_directory: str, began: float) -> int | None:
    """Have the workers save, and wait until a checkpoint holds all steps that they have told of; its step.

    Where they train, it is one that was not complete before: they tell of their steps now and then only.

    Args:
        run_directory: of the run.
        began: when this driver did, in seconds since 1970: what was told before is of workers that are gone.
    """
    progress = json.loads(read_file(f"{run_directory}/{PROGRESS}") or b"{}")
    wanted, last = int(progress.get("steps", 0)), progress.get("of")
    trains = progress.get("time", 0.0) > began and progress.get("phase", "starting") != "starting"
    checkpoints = Checkpoints(f"{run_directory}/{CHECKPOINTS}", Workers())
    before = _newest_step(checkpoints)
    write_file(f"{run_directory}/{STOP}", f"{time.time() * 1000:.0f}".encode())
    seconds = max(1.0, float(os.environ.get(_WAIT_VARIABLE, "120")) - _MARGIN_SECONDS)
    deadline = time.monotonic() + seconds
    while True:
        step = _newest_step(checkpoints)
        new = not trains or (step is not None and (step != before or step == last))
        if (new and (step or 0) >= wanted) or time.monotonic() > deadline:
            return step
        time.sleep(_LOOKS_SECONDS)


def _newest_step(checkpoints: Checkpoints) -> int | None:
    found = checkpoints.newest()
    return found[1].step if found else None
