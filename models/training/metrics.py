"""A run's figures: one JSON line a step in `metrics.jsonl`, kept on the device until they are looked at."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

import pyarrow.fs as pafs
import torch
from torch import Tensor

from models.training.checkpoint import open_location, read_file, write_file
from models.training.workers import Workers


class MetricsLog:
    """Appends lines to `metrics.jsonl`; where files cannot be appended to, it is written whole at each `sync`.

    Args:
        location: absolute path or URI of the file.
        resumed_step: lines of later steps are dropped: those steps are done again.
    """

    def __init__(self, location: str, resumed_step: int) -> None:
        self.location = location
        fs, self._path = open_location(location)
        self._local = isinstance(fs, pafs.LocalFileSystem)
        kept = [line for line in (read_file(location) or b"").splitlines() if _step(line) <= resumed_step]
        self._lines = kept if resumed_step else []
        write_file(location, b"".join(line + b"\n" for line in self._lines))

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Add lines."""
        new = [json.dumps(line).encode() for line in lines]
        if self._local:
            with open(self._path, "ab") as file:
                file.write(b"".join(line + b"\n" for line in new))
        else:
            self._lines += new

    def sync(self) -> None:
        """Make sure that the file has all lines."""
        if not self._local:
            write_file(self.location, b"".join(line + b"\n" for line in self._lines))


def _step(line: bytes) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


@dataclass
class _Step:
    line: dict[str, Any]
    loss: Tensor
    targets: Tensor


@dataclass
class StepRecord:
    """Collects the steps since the last look at the device.

    `flush` sums the losses of all steps over the workers in one collective and times them together: the speed in a
    line is that of its group of steps, without validation, checkpoints and the time before the first step.
    """

    workers: Workers
    steps: list[_Step] = field(default_factory=list)
    _started: float | None = None

    def start(self) -> None:
        """Start the clock, where it does not run."""
        if self._started is None:
            self._started = time.perf_counter()

    def add(self, line: dict[str, Any], loss: Tensor, targets: Tensor) -> None:
        """Remember a step: its line, this worker's summed loss, and the targets of all workers."""
        self.steps.append(_Step(line, loss, targets))

    def flush(self, tokens_per_step: int, seconds_before: float) -> tuple[list[dict[str, Any]], float]:
        """The lines of the steps since the last flush, and the seconds they took; stops the clock."""
        if not self.steps or self._started is None:
            return [], 0.0
        totals = self.workers.sum(torch.stack([step.loss.double() for step in self.steps])).tolist()
        elapsed = time.perf_counter() - self._started
        speed = tokens_per_step * len(self.steps) / elapsed
        lines = []
        for index, (step, total) in enumerate(zip(self.steps, totals, strict=True)):
            seconds = seconds_before + elapsed * (index + 1) / len(self.steps)
            loss = total / max(1.0, float(step.targets))
            rate = {"tokens_per_second": round(speed, 1), "seconds": round(seconds, 3)}
            lines.append({**step.line, "loss": loss, **rate})
        self.steps, self._started = [], None
        return lines, elapsed


def peak_memory_bytes() -> int:
    """The most memory this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def threads_for(device: torch.device, threads: int) -> None:
    """One process must not take its neighbours' cores."""
    if device.type == "cpu":
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
