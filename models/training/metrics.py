"""A run's figures: one JSON line a step in `metrics.jsonl`, kept on the device until they are looked at."""

from __future__ import annotations

import math
import os
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from models.training.guard import verdict
from models.training.workers import Workers

PEAK_BF16_FLOPS = {
    "GB200": 2500e12,
    "B200": 2250e12,
    "H200 NVL": 836e12,
    "H200": 989e12,
    "GH200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 836e12,
    "H100": 989e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 150e12,
    "A30": 165e12,
    "A10": 125e12,
    "A10G": 70e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "MI300X": 1307e12,
}
"""Dense bf16 operations a second of one device, by the words of its name that tell (makers' data sheets, without
sparsity); the first that a name contains counts."""


Mark = Any
"""A point in time: seconds, or an event in a GPU's stream."""


@dataclass
class _Step:
    line: dict[str, Any]
    values: Tensor
    tokens: int


@dataclass
class StepRecord:
    """Collects the steps since the last look at the device.

    `flush` reads them in one piece. The speed in a line is that of its group of steps; validation, checkpoints and
    the wait for the first batch are no part of it. The time of a phase is the device's: on a GPU it is measured by
    events in its stream, so that measuring waits for nothing.

    A worker's own time is what it spends on data, passes and optimizer, without its wait for the others where the
    loop sums over workers. Waits within the engine's own exchanges count as its own.

    Attributes:
        workers: who trains.
        flops_per_token: of the network, forward and backward; for the share of the GPUs' peak.
        totals: seconds by phase since the run (or its continuation) began.
    """

    workers: Workers
    flops_per_token: float = 0.0
    steps: list[_Step] = field(default_factory=list)
    totals: dict[str, float] = field(default_factory=dict)
    _marks: list[tuple[str, Mark]] = field(default_factory=list)
    _seconds: dict[str, float] = field(default_factory=dict)
    _started: float | None = None

    def start(self) -> None:
        """Start the clock, where it does not run."""
        if self._started is None:
            self._started = time.perf_counter()

    def stop(self) -> None:
        """Forget what is not flushed, and stop the clock."""
        self.steps, self._marks, self._seconds, self._started = [], [], {}, None

    def mark(self, phase: str) -> None:
        """The phase ends here; it began at the mark before. An empty name: it was none of the step's."""
        mark: Mark
        if self.workers.device.type == "cuda":
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
        else:
            mark = time.perf_counter()
        self._marks.append((phase, mark))

    @contextmanager
    def phase(self, name: str, stands: bool = True) -> Iterator[None]:
        """The block is a phase that the host goes through.

        Args:
            name: of the phase.
            stands: training stands still meanwhile, and its clock. Otherwise the phase is a part of what the clock
                measures, and counts only while it runs.
        """
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        if stands and self._started is not None:
            self._started += seconds
        if stands or self._started is not None:
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
            self.totals[name] = self.totals.get(name, 0.0) + seconds

    def add(self, line: dict[str, Any], values: Tensor, tokens: int) -> None:
        """Remember a step.

        Args:
            line: what is known of it by now.
            values: [7] on the device: nats, targets, bytes that these stand for (0: unknown), all summed over the
                workers, gradient norm, whether the step was applied, the limits of mean loss and norm.
            tokens: of the step.
        """
        self.steps.append(_Step(line, values, tokens))

    def flush(self, seconds_before: float) -> tuple[list[dict[str, Any]], float]:
        """The lines of the steps since the last flush, and the seconds they took."""
        if not self.steps or self._started is None:
            return [], 0.0
        read = torch.stack([step.values for step in self.steps]).tolist()
        now = time.perf_counter()
        elapsed, self._started = now - self._started, now
        tokens = sum(step.tokens for step in self.steps)
        speed = round(tokens / elapsed, 1)
        lines, seen = [], 0
        for step, values in zip(self.steps, read, strict=True):
            seen += step.tokens
            rate = {"tokens_per_second": speed, "seconds": round(seconds_before + elapsed * seen / tokens, 3)}
            lines.append({**step.line, **_judged(*values), **rate})
        lines[-1] |= self._group(elapsed, tokens)
        self.steps, self._marks, self._seconds = [], [], {}
        return lines, elapsed

    def _group(self, elapsed: float, tokens: int) -> dict[str, Any]:
        """The figures of the steps since the last flush together."""
        device, seconds = self.workers.device, dict(self._seconds)
        for (_, before), (phase, mark) in zip(self._marks, self._marks[1:], strict=False):
            if phase:
                took = before.elapsed_time(mark) / 1000 if device.type == "cuda" else mark - before
                seconds[phase] = seconds.get(phase, 0.0) + took
                self.totals[phase] = self.totals.get(phase, 0.0) + took
        figures: dict[str, Any] = {
            "step_seconds": round(elapsed / len(self.steps), 5),
            "data_wait_share": round(seconds.get("data", 0.0) / elapsed, 5),
            "phase_seconds": {name: round(value, 4) for name, value in seconds.items()},
            "memory_bytes": memory_bytes(device),
        }
        if self.workers.world > 1:
            own = sum(seconds.get(name, 0.0) for name in ("data", "forward_backward", "optimizer"))
            times = self.workers.gather(own / len(self.steps))
            figures["slowest_to_median"] = round(max(times) / (statistics.median_low(times) or 1.0), 4)
            figures["slowest_rank"] = times.index(max(times))
        if (peak := peak_flops(device)) is not None and self.flops_per_token:
            figures["mfu"] = round(self.flops_per_token * tokens / elapsed / (self.workers.world * peak), 5)
        return figures


def _judged(
    nats: float, targets: float, size: float, norm: float, applied: float, loss_limit: float, norm_limit: float
) -> dict[str, Any]:
    """A step's figures from what was read of it; JSON has no infinities, so what is not finite is None."""
    loss = nats / max(1.0, targets)
    line: dict[str, Any] = {
        "loss": loss if math.isfinite(loss) else None,
        "gradient_norm": norm if math.isfinite(norm) else None,
    }
    if size and math.isfinite(loss):
        line["bits_per_byte"] = nats / math.log(2) / size
    if not applied:
        line["skipped"] = True
        line["bad"] = verdict(loss, norm, loss_limit, norm_limit)
    return line


def peak_flops(device: torch.device) -> float | None:
    """Dense bf16 operations a second of a GPU; None: a CPU, or a GPU that is not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for words, flops in PEAK_BF16_FLOPS.items() if re.search(rf"\b{words}\b", name)), None)


def memory_bytes(device: torch.device) -> int:
    """What this process holds now; on a GPU, the most it has held there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_memory_bytes() -> int:
    """The most memory this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def threads_for(device: torch.device, threads: int) -> None:
    """One process must not take its neighbours' cores."""
    if device.type == "cpu":
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
