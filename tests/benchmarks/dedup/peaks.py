"""What a program and all that it starts hold and use: the largest process, and the processor's seconds."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil


@dataclass
class Peak:
    """What one process held at most, in bytes."""

    name: str
    resident: int = 0
    """All pages in memory, shared ones too; the kernel's own high-water mark, so no moment is missed."""
    proportional: int = 0
    """Each shared page divided by its users; sampled."""


class ProcessPeaks:
    """Watches a process and its descendants until it is left; `peaks` has a `Peak` a process.

    `spent` has for each sample the monotonic clock and the processor's seconds of all of them until then.

    Args:
        root: the process.
        interval_seconds: between samples.
    """

    def __init__(self, root: int, interval_seconds: float = 0.2) -> None:
        self.peaks: dict[int, Peak] = {}
        self.spent: list[tuple[float, float]] = []
        self._seconds: dict[int, float] = {}
        self._root, self._interval = root, interval_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessPeaks:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def largest(self, count: int = 3) -> list[Peak]:
        """The processes that held most, by their resident pages."""
        return sorted(self.peaks.values(), key=lambda peak: -peak.resident)[:count]

    def spent_until(self, clock: float) -> float:
        """The processor's seconds until a moment, in between samples on a straight line."""
        return float(np.interp(clock, *zip(*self.spent, strict=True)))

    def _watch(self) -> None:
        while True:
            for pid in _family(self._root):
                try:
                    self._sample(pid)
                except (OSError, KeyError):  # it has ended
                    continue
            self.spent.append((time.monotonic(), sum(self._seconds.values())))
            if self._ended.wait(self._interval):
                return

    def _sample(self, pid: int) -> None:
        self._seconds[pid] = _processor_seconds(pid)
        status = _fields(pid, "status")
        peak = self.peaks.setdefault(pid, Peak(""))
        # Ray's workers take the name of what they run.
        peak.name = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip() or peak.name
        peak.resident = max(peak.resident, status["VmHWM"])
        # No process has more than its resident pages, so the costly count is of growing ones only.
        if status["VmRSS"] > peak.proportional:
            peak.proportional = max(peak.proportional, _fields(pid, "smaps_rollup")["Pss"])


def _fields(pid: int, name: str) -> dict[str, int]:
    """The fields in kilobytes of a file of the kernel's, in bytes."""
    found = {}
    for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
        key, _, value = line.partition(":")
        if value.endswith("kB"):
            found[key] = int(value.split()[0]) * 1024
    return found


def _processor_seconds(pid: int) -> float:
    """Of one process; its name, in parentheses, may hold spaces."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _family(root: int) -> list[int]:
    try:
        return [root, *(child.pid for child in psutil.Process(root).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []
