"""Learning-rate schedules: pure functions of the tokens seen, as a fraction of the peak.

A schedule is one function and one line in `SCHEDULES`; warm-up and the floor are applied around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from models.training.settings import TrainingSettings


def constant(progress: float, decay_fraction: float) -> float:
    """The peak, always."""
    return 1.0


def wsd(progress: float, decay_fraction: float) -> float:
    """Stable, then a decay over the last part that follows 1 - sqrt (Hägele et al. 2024, arXiv 2405.18392)."""
    start = 1.0 - decay_fraction
    if progress <= start or decay_fraction == 0:
        return 1.0
    return 1.0 - math.sqrt((progress - start) / decay_fraction)


def cosine(progress: float, decay_fraction: float) -> float:
    """Half a cosine from 1 to 0."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def linear(progress: float, decay_fraction: float) -> float:
    """A straight line from 1 to 0."""
    return 1.0 - progress


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "wsd": wsd,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
}
"""Each takes (progress after warm-up in 0..1 for cosine and linear, of the whole budget for wsd; decay fraction)."""


def learning_rate(settings: TrainingSettings, tokens: float) -> float:
    """The learning rate at a point of the budget; a step takes that of its middle, so none is wasted on zero.

    Warm-up is linear over `warmup_fraction` of the budget; the schedule falls to `final_learning_rate_fraction` of
    the peak.
    """
    budget = settings.steps * settings.tokens_per_step
    done = min(1.0, tokens / budget)
    if done < settings.warmup_fraction:
        return settings.learning_rate * done / settings.warmup_fraction
    if settings.schedule == "wsd":
        progress = done
    else:
        progress = (done - settings.warmup_fraction) / (1.0 - settings.warmup_fraction)
    shape = SCHEDULES[settings.schedule](progress, settings.decay_fraction)
    floor = settings.final_learning_rate_fraction
    return settings.learning_rate * (floor + (1.0 - floor) * shape)
