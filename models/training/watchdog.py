"""Notices that a worker has come to a stop, says where it stands, and ends it, so that the group starts again."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

_LOOKS = 20
"""So often it looks in the time that it allows."""


class Watchdog:
    """Calls `stuck` once when nothing has moved for too long.

    Where one worker stops, the others soon wait for it: all of them say where they stand. One that the system has
    stopped says nothing, and is the one that is missing.

    Args:
        seconds: how long nothing may move; 0: it never calls.
        stuck: called in a thread of its own with the stacks of all threads, the main one's last.
    """

    def __init__(self, seconds: float, stuck: Callable[[str], None]) -> None:
        self._seconds, self._stuck = seconds, stuck
        self._main = threading.get_ident()
        self._moved, self._waits = time.monotonic(), 0
        self._stop = threading.Event()
        if seconds > 0:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def moved(self) -> None:
        """Something was done."""
        self._moved = time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """What runs inside has a time limit of its own."""
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            self.moved()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds / _LOOKS):
            if not self._waits and time.monotonic() - self._moved > self._seconds:
                self._stuck(stacks(self._main))
                return


def stacks(last: int) -> str:
    """Where every thread of this process stands; the thread of this number comes last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sorted(sys._current_frames().items(), key=lambda each: each[0] == last)
    return "\n".join(
        f"thread {names.get(number, number)}:\n{''.join(traceback.format_stack(frame)).rstrip()}"
        for number, frame in frames
    )
