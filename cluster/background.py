"""A watcher in the background of a node: one of its kind, detached from the SSH session that starts it.

Standard library only, as it is copied to nodes with the watchers (`spot_watch.py`, `idle_watch.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Raylet:
    """This node's raylet: its process, when that began (seconds since boot), and its node's id (hex)."""

    pid: int
    started: float
    node_id: str
    gcs_address: str

    def age(self) -> float:
        """Seconds since it began, whatever was done to the clock since."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started

    def alive(self) -> bool:
        """Whether it still runs."""
        folder = Path(f"/proc/{self.pid}")
        with contextlib.suppress(OSError):
            return _state(folder) != "Z" and _started(folder) == self.started
        return False


def raylets() -> list[Raylet]:
    """The raylets of this machine, the newest first."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, KeyError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name != "raylet" or _state(folder) == "Z":
                continue
            flags = dict(word[2:].split("=", 1) for word in words[1:] if word.startswith("--") and "=" in word)
            found.append(Raylet(int(folder.name), _started(folder), flags["node_id"], flags["gcs-address"]))
    return sorted(found, key=lambda raylet: raylet.started, reverse=True)


def detach(log: Path) -> None:
    """Go on in the background, with `log` for what is printed; the process that called this ends with 0.

    The caller's streams are let go, so an SSH session that started it can end.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    if child := os.fork():
        print(f"{Path(sys.argv[0]).name}: started as process {child}, log in {log}", flush=True)
        os._exit(0)
    log.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def take_over(pid_file: Path) -> None:
    """Be the only one: end the process that `pid_file` names, if it is one of ours, and write our pid there."""
    with contextlib.suppress(OSError, ValueError):
        before = int(pid_file.read_text())
        command = Path(f"/proc/{before}/cmdline").read_bytes().decode(errors="replace")
        if before != os.getpid() and Path(sys.argv[0]).name in command:
            os.kill(before, signal.SIGTERM)
    new = pid_file.with_suffix(f".{os.getpid()}")
    new.write_text(str(os.getpid()))
    new.replace(pid_file)


def say(text: str) -> None:
    """One line of the log, with the time (UTC)."""
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", flush=True)


class Changes:
    """A `say` that leaves out what it said last: for states that are looked at again and again."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, text: str) -> None:
        """Say it, if it is new."""
        if text != self._last:
            say(text)
        self._last = text


def _state(folder: Path) -> str:
    return (folder / "stat").read_text().rpartition(")")[2].split()[0]


def _started(folder: Path) -> float:
    ticks = int((folder / "stat").read_text().rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")
