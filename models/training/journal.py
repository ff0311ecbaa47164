"""The run journal: what befell a run, one JSON line an event, over all its attempts.

Every process that writes has a file of its own in `<run directory>/journal/`, named by the time it began: appended to
on a local disk, written anew on an object store. `read_journal` puts them in the order of time. Events, each with
`time` (seconds since 1970):

- `starting`: the workers of an attempt are there; `workers`, `node` (rank 0's).
- `start`, `resume`: an attempt begins to train; `step`, `workers`, `seconds` of set-up, and where one was before it
  `lost_steps` and `last_sign` (time of the newest figures that it told).
- `first_step`: its first steps are done; `step`.
- `checkpoint`: one is complete; `step`, `begun` (time), `blocked_seconds`.
- `checkpoint_failed`, `checkpoint_damaged`, `rollback`, `skip`, `straggler`, `hang`: as their `message` says; `step`.
- `failure`: `cause`, `kind` (`worker`, `preemption`, `controller`), `ranks`.
- `no_room`: the cluster had no room for `workers` workers in time; they are asked for again until it has.
- `resize`: another number of workers is to go on; `workers`.
- `notice`: machines are about to go; `ranks`.
- `end`: the run is done; `step`. `failed`: it gave up; `cause`.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from models.training.storage import open_location, write_whole

JOURNAL = "journal"
_AGAIN_SECONDS = 3.0


class Journal:
    """One writer of a run's journal. Storage that refuses never stops the run: lines are written some seconds later.

    Args:
        run_directory: path or URI.
        writer: who writes, for the file's name.
    """

    def __init__(self, run_directory: str, writer: str) -> None:
        self._files, directory = open_location(f"{run_directory}/{JOURNAL}")
        self._path = f"{directory}/{time.time_ns():020d}-{writer}.jsonl"
        self._directory, self._lines, self._local = directory, b"", isinstance(self._files, pafs.LocalFileSystem)
        self._lock, self._again = threading.Lock(), False

    def add(self, event: str, **values: Any) -> None:
        """Write an event down."""
        told = {"time": round(time.time(), 6), "event": event, **values}
        with self._lock:
            self._lines += json.dumps(told).encode() + b"\n"
            self._write()

    def _write(self) -> None:
        """Write what is not yet written, or see to it that it is; the lock is held."""
        try:
            self._files.create_dir(self._directory, recursive=True)
            if self._local:
                with Path(self._path).open("ab", buffering=0) as file:
                    file.write(self._lines)
                self._lines = b""
            else:
                write_whole(self._files, self._path, self._lines)
        except OSError:
            if not self._again:
                self._again = True
                later = threading.Timer(_AGAIN_SECONDS, self._write_again)
                later.daemon = True
                later.start()

    def _write_again(self) -> None:
        with self._lock:
            self._again = False
            self._write()


def read_journal(run_directory: str) -> list[dict[str, Any]]:
    """All events of a run by time; none where there is no journal. A line that a kill cut off is left out."""
    files, directory = open_location(f"{run_directory}/{JOURNAL}")
    events = []
    for info in files.get_file_info(pafs.FileSelector(directory, allow_not_found=True)):
        if not info.base_name.endswith(".jsonl"):
            continue
        with files.open_input_stream(info.path) as stream:
            *whole, _ = bytes(stream.read()).split(b"\n")
        events += [json.loads(line) for line in whole]
    return sorted(events, key=lambda event: event["time"])
