"""Checkpoints out of turn: a notice, a request to stop, or time that has passed. Rank 0 asks, all hear it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from models.training.reporter import Reporter

_AGAIN_SECONDS = 10.0
"""So often a run is saved while its machines are about to go: what is done after the last of these is lost."""


class Urgency:
    """What rank 0 wants travels in a sum that each step makes over the workers anyway, so all decide alike.

    A step's sum is made before its passes. On a GPU it is copied to the host beside them, and who looks at it when the
    step's work has been handed out waits at most until the GPU begins that step, which it then still has to do.

    Args:
        reporter: of the run; knows of notices.
        every_seconds: a checkpoint is wanted when so much time has passed since the last; 0: never.
        busy: whether the last one is still being written; asked on rank 0.
    """

    def __init__(self, reporter: Reporter, every_seconds: float, busy: Callable[[], bool]) -> None:
        self._reporter, self._every, self._busy = reporter, every_seconds, busy
        self._first, self._device = reporter.workers.first, reporter.workers.device
        gpu = self._device.type == "cuda"
        self._heard = torch.zeros(1, dtype=torch.float64, pin_memory=gpu)
        self._copied = torch.cuda.Event() if gpu else None
        self._known: float | None = None
        self._saved: float | None = None
        self.saved()

    def ask(self) -> float:
        """1 on rank 0 if it wants a checkpoint, else 0; before each step."""
        if not self._first:
            return 0.0
        self._known = self._reporter.notice()
        since = time.perf_counter() - self._saved_at
        noticed = self._known is not None and (self._known != self._saved or self._last_chance(self._known, since))
        return float(noticed or 0 < self._every <= since)

    def _last_chance(self, deadline: float, since: float) -> bool:
        """Whether machines are still to go (milliseconds since 1970), and the last checkpoint is old."""
        return since >= _AGAIN_SECONDS and time.time() * 1000 < deadline and not self._busy()

    def hear(self, asked: Tensor) -> None:
        """Take what all asked for together.

        Args:
            asked: [1] float64, the sum.
        """
        self._heard.copy_(asked, non_blocking=True)
        if self._copied is not None:
            self._copied.record(torch.cuda.current_stream(self._device))

    @property
    def wanted(self) -> bool:
        """Whether a checkpoint of the step that was heard last is wanted."""
        if self._copied is not None:
            self._copied.synchronize()
        return bool(self._heard[0] > 0)

    def saved(self) -> None:
        """There is a checkpoint of now: nothing that is known is urgent any more."""
        self._saved, self._saved_at = self._known, time.perf_counter()
