"""The peak memory of a set of processes while something runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType


class PeakMemory:
    """Samples the memory of processes in a thread; `peak_bytes` is the largest sum seen.

    The sum is of proportional set sizes (a shared page counts once), where the system has them, else of unique ones.

    Args:
        processes: gives the pids to add up, asked anew for every sample.
        interval_seconds: between samples, at least: adding up a hundred processes takes the system a second, and
            sampling is to take no more than a fortieth of one core.
    """

    def __init__(self, processes: Callable[[], Sequence[int]], interval_seconds: float = 2.0) -> None:
        self.peak_bytes = 0
        self._processes, self._interval = processes, interval_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            began = time.thread_time()
            self.peak_bytes = max(self.peak_bytes, sum(memory_of(pid) for pid in self._processes()))
            if self._ended.wait(max(self._interval, 40 * (time.thread_time() - began))):
                return


def memory_of(pid: int) -> int:
    """A process's proportional (or unique) set size in bytes; 0 when it has ended."""
    import psutil

    try:
        memory = psutil.Process(pid).memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return 0
    return int(getattr(memory, "pss", 0) or memory.uss)
