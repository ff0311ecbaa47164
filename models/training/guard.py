"""The guard: which steps are bad, worked out on the device, and what many of them in a row mean.

A step is bad when its loss or gradient norm is not finite, or stands far above those of the steps before it. It is
left out. All values come from sums over all workers, so all workers judge alike, and nothing has to be read back: the
limits of a step are tensors, and a run looks at what became of its steps only when it logs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.training.settings import GuardSettings

_LARGEST = torch.finfo(torch.float32).max
_LEAST_RISES = (0.01, 1.0)
_SHOWN = 8


class DivergedError(RuntimeError):
    """Too many bad steps; the message is the diagnosis."""


class Guard:
    """Limits for a step's loss and gradient norm, from the steps before.

    A limit is the window's mean and so many standard deviations, but a loss less than a hundredth above the mean and
    a norm less than twice the mean are never spikes: deviations can be as small as rounding, and norms drift. Until
    the window is half full, only what is not finite is bad.

    A loss above its limit is no part of the window, so that a spike does not hide the next. A norm above its limit is
    one: where gradients have grown for good the limit follows within a few steps, and the run goes on.

    Args:
        settings: window and deviations.
        device: where the losses are.
    """

    def __init__(self, settings: GuardSettings, device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._age = torch.arange(settings.window, 0, -1, device=device)
        self._least = torch.tensor(_LEAST_RISES, dtype=torch.float64, device=device)
        self.forget()

    def forget(self) -> None:
        """Begin a new window: losses before are no measure of those to come."""
        size = self._settings.window
        self._values = torch.zeros(2, size, dtype=torch.float64, device=self._device)
        self._count = torch.zeros((), dtype=torch.int64, device=self._device)
        self.limits = torch.full((2,), _LARGEST, dtype=torch.float64, device=self._device)

    def judge(self, loss: Tensor) -> Tensor:
        """Whether a step of this loss (mean over all targets of all workers) is bad: a bool scalar."""
        return ~(loss <= self.limits[0])

    @property
    def norm_limit(self) -> Tensor:
        """The largest gradient norm of a good step: a scalar."""
        return self.limits[1]

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Remember a step, unless its loss is bad or its norm not finite."""
        if not self._settings.deviations:
            return
        new = torch.stack([loss.double(), norm.double()])
        good = ~self.judge(new[0]) & (new[1] <= _LARGEST)
        self._values = torch.where(good, torch.cat([self._values[:, 1:], new[:, None]], 1), self._values)
        self._count = torch.clamp(self._count + good, max=self._settings.window)
        self.limits = self._limits()

    def _limits(self) -> Tensor:
        count = self._count.clamp(min=1)
        kept = self._age <= self._count
        mean = (self._values * kept).sum(1) / count
        deviation = (((self._values - mean[:, None]) * kept).square().sum(1) / count).sqrt()
        rise = torch.maximum(self._settings.deviations * deviation, self._least * mean)
        enough = self._count >= self._settings.window // 2
        return torch.where(enough, mean + rise, _LARGEST)

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as plain values."""
        count = int(self._count)
        losses, norms = self._values[:, self._settings.window - count :].tolist()
        return {"losses": losses, "gradient_norms": norms}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.forget()
        window = torch.tensor([state["losses"], state["gradient_norms"]], dtype=torch.float64, device=self._device)
        count = window.shape[1]
        self._values[:, self._settings.window - count :] = window
        self._count += count
        if self._settings.deviations:
            self.limits = self._limits()


class Streak:
    """Bad steps in a row.

    Attributes:
        lines: their metric lines, the oldest first.
        longest: how many there may be.
    """

    def __init__(self, longest: int) -> None:
        self.longest, self.lines = longest, list[dict[str, Any]]()

    def add(self, lines: list[dict[str, Any]]) -> bool:
        """Follow a run's metric lines; True as soon as there are too many bad ones in a row."""
        for line in lines:
            self.lines = [*self.lines, line] if "bad" in line else []
            if len(self.lines) >= self.longest:
                return True
        return False


def described(lines: list[dict[str, Any]]) -> str:
    """Bad steps with losses, norms and rates; of many the first and the last ones."""
    shown = [
        f"step {line['step']} (loss {_number(line['loss'])}, gradient norm {_number(line['gradient_norm'])}, learning "
        f"rate {line['learning_rate']:.3g}): {line['bad']}"
        for line in lines
    ]
    if len(shown) > _SHOWN:
        half = _SHOWN // 2
        shown = [*shown[:half], f"… {len(shown) - 2 * half} more …", *shown[-half:]]
    return "; ".join(shown)


def verdict(loss: float, norm: float, loss_limit: float, norm_limit: float) -> str:
    """Why a step was bad, in words."""
    if loss != loss or norm != norm or max(abs(loss), abs(norm)) > _LARGEST:
        return "not finite"
    if loss > loss_limit:
        return f"the loss is above {loss_limit:.4g}"
    if norm > norm_limit:
        return f"the gradient norm is above {norm_limit:.4g}"
    return "the engine left it out"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
