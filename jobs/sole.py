"""One driver at a time works on a run: a second one would write into what the first writes, or remove it.

A driver keeps a note beside the run directory, `<output>/jobs/.<name>.driver.json`, and renews it while it lives. A
note whose process is gone from this machine, or that nobody renews, is of a driver that was killed: the next one goes
on at once, or after `STALE_SECONDS` where it was another machine's. Notes are compared with themselves, never with a
clock, so machines need not agree about the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipelines import storage

RENEWED_SECONDS = 10.0
STALE_SECONDS = 3 * RENEWED_SECONDS
_LOOKS_SECONDS = 0.5
_TRIES = 3
_SAME_SECONDS = 60.0
"""Linux tells a process's begin in time since boot: as a date it moves when the clock is set."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Busy(Exception):
    """Another driver works on the run; the message says which."""


@dataclass(frozen=True)
class Note:
    """Who drives.

    Attributes:
        host: its name.
        boot: of the host's kernel, where it tells: names come again on other machines.
        pid: of the process.
        began: when the process began, in seconds since 1970: numbers of processes come again.
        mark: made by chance.
        renewed: how often.
    """

    host: str
    boot: str
    pid: int
    began: float
    mark: str
    renewed: int = 0

    @staticmethod
    def mine() -> Note:
        """Of this process."""
        return Note(socket.gethostname(), _boot(), os.getpid(), _began(os.getpid()) or 0.0, secrets.token_hex(8))

    def gone(self) -> bool:
        """Whether its process is known to have ended: it was on this machine, and is not there."""
        if (self.host, self.boot) != (socket.gethostname(), _boot()):
            return False
        began = _began(self.pid)
        return began is None or abs(began - self.began) > _SAME_SECONDS


@contextlib.contextmanager
def sole_driver(run_directory: str) -> Iterator[bool]:
    """Hold a run while the block runs.

    Where it is taken over meanwhile (this process was frozen for long, say), the process gets SIGTERM.

    Yields:
        whether another driver was waited for: it may have done the work.

    Raises:
        Busy: another driver is alive, after `STALE_SECONDS` in which it might have ended.
    """
    place, mine, stop = _place(run_directory), Note.mine(), threading.Event()
    waited = _wait(place, run_directory)
    _write(place, mine)

    def renew() -> None:
        note = mine
        while not stop.wait(RENEWED_SECONDS):
            # A store that does not answer for a while is no reason to end.
            with contextlib.suppress(OSError):
                found = _read(place)
                if found is not None and found.mark != mine.mark:
                    print(f"{run_directory}: taken over by {_named(found)}; this driver stops", flush=True)
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                note = replace(note, renewed=note.renewed + 1)
                _write(place, note)

    thread = threading.Thread(target=renew, name="sole-driver", daemon=True)
    thread.start()
    try:
        yield waited
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(OSError):
            found = _read(place)
            if found is not None and found.mark == mine.mark:
                storage.remove(place)


def _wait(place: str, run_directory: str) -> bool:
    """Until nobody drives; whether it took time. Raises Busy."""
    first = last = _read(place)
    if first is None or first.gone():
        return False
    print(f"{run_directory}: waits for {_named(first)}, which works on it", flush=True)
    began = changed = time.monotonic()
    while last is not None and not last.gone():
        now = time.monotonic()
        if now - changed > STALE_SECONDS:
            return True
        if now - began > STALE_SECONDS and last != first:
            raise Busy(f"{run_directory}: {_named(last)} works on it; wait for its end, or stop it")
        time.sleep(_LOOKS_SECONDS)
        found = _read(place)
        if found != last:
            last, changed = found, time.monotonic()
    return True


def _named(note: Note) -> str:
    return f"process {note.pid} on {note.host}"


def _place(run_directory: str) -> str:
    # Not in it: `--force` removes the directory.
    parent, _, name = run_directory.rstrip("/").rpartition("/")
    return storage.join(parent, f".{name}.driver.json")


def _write(place: str, note: Note) -> None:
    storage.write_json(place, asdict(note))


def _read(place: str) -> Note | None:
    """The note; None: there is none, or what is there is none."""
    for _ in range(_TRIES):
        try:
            return Note(**json.loads(storage.read_bytes(place)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            # A store may give half of a note that is being replaced.
            time.sleep(_LOOKS_SECONDS)
    return None


def _boot() -> str:
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip()
    return ""


def _began(pid: int) -> float | None:
    """When a process of this machine began; None: there is none, or nothing is left of it but its status."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
