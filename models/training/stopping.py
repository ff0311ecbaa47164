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


@contextlib.contextmanager
def stops_with_checkpoint(run_directory: str, name: str) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGINT end the process (128 + the signal) once a checkpoint is complete.

    Those that follow the first change nothing, but Ctrl-C again ends it at once. In threads other than the main one
    nothing is done: only that one may handle signals.

    Args:
        run_directory: of the run.
        name: of the run, before what is said.
    """
    _forget(run_directory)
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, lambda again, frame: sys.exit(128 + again))
        _say(f"{name}: told to stop; a checkpoint first")
        step = _save(run_directory)
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


def asked_to_stop(run_directory: str) -> float | None:
    """When somebody asked the run to stop, in milliseconds since 1970."""
    content = read_file(f"{run_directory}/{STOP}")
    return None if content is None else float(content)


def _say(line: str) -> None:
    # Where the one who reads has been killed there is nobody to tell, but a checkpoint to write.
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _forget(run_directory: str) -> None:
    files, path = open_location(f"{run_directory}/{STOP}")
    with contextlib.suppress(FileNotFoundError):
        files.delete_file(path)


def _save(run_directory: str) -> int | None:
    """Have the workers save, and wait until a checkpoint holds all steps that they have told of; its step."""
    progress = json.loads(read_file(f"{run_directory}/{PROGRESS}") or b"{}")
    wanted = int(progress.get("steps", 0))
    checkpoints = Checkpoints(f"{run_directory}/{CHECKPOINTS}", Workers())
    write_file(f"{run_directory}/{STOP}", f"{time.time() * 1000:.0f}".encode())
    seconds = max(1.0, float(os.environ.get(_WAIT_VARIABLE, "120")) - _MARGIN_SECONDS)
    deadline = time.monotonic() + seconds
    while True:
        found = checkpoints.newest()
        step = found[1].step if found else None
        if (step or 0) >= wanted or time.monotonic() > deadline:
            return step
        time.sleep(_LOOKS_SECONDS)
