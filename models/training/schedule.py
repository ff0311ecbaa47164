"""Learning-rate schedules: pure functions of the tokens seen, as a fraction of the peak.

A schedule is one function and one line in `SCHEDULES`; warm-up and the floor are applied around it. Since tokens are
counted, not steps, a batch ramp changes nothing about the rate that a token is seen with.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

from models.training.batch import Steps
from models.training.settings import TrainingSettings


def constant(tokens: float, budget: int, settings: TrainingSettings) -> float:
    """The peak, always."""
    return 1.0


def wsd(tokens: float, budget: int, settings: TrainingSettings) -> float:
    """Warm-up, stable, decay: the last part falls by 1 - sqrt (Hägele et al. 2024, arXiv 2405.18392)."""
    return _decay(tokens, 0, budget, settings.decay_fraction)


def wsd_s(tokens: float, budget: int, settings: TrainingSettings) -> float:
    """WSD again and again (Wen et al. 2024, arXiv 2410.05192, "WSD-S").

    Each of `decays_at`, and the budget, ends a period; the last `decay_fraction` of a period decays, and the next one
    goes on from the decayed weights at the full rate. So one run has a finished model at every budget it names.
    """
    ends = [*settings.decays_at, budget]
    period = min(bisect_right(ends, tokens), len(ends) - 1)
    return _decay(tokens, ends[period - 1] if period else 0, ends[period], settings.decay_fraction)


def cosine(tokens: float, budget: int, settings: TrainingSettings) -> float:
    """Half a cosine from 1 to 0, after warm-up."""
    return 0.5 * (1.0 + math.cos(math.pi * _after_warmup(tokens, budget, settings)))


def linear(tokens: float, budget: int, settings: TrainingSettings) -> float:
    """A straight line from 1 to 0, after warm-up."""
    return 1.0 - _after_warmup(tokens, budget, settings)


SCHEDULES: dict[str, Callable[[float, int, TrainingSettings], float]] = {
    "wsd": wsd,
    "wsd_s": wsd_s,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
}
"""Each takes (tokens seen, the budget, settings)."""


def learning_rate(settings: TrainingSettings, tokens: float) -> float:
    """The learning rate after so many tokens; a step takes that of its middle, so none is wasted on zero.

    The rate rises in a straight line over the first `warmup_fraction` of the budget, and it falls to
    `final_learning_rate_fraction` of the peak.
    """
    steps = Steps.of(settings)
    budget = steps.tokens_before(steps.total)
    tokens = min(tokens, budget)
    shape = SCHEDULES[settings.schedule](tokens, budget, settings)
    floor = settings.final_learning_rate_fraction
    warmup = settings.warmup_fraction * budget
    risen = tokens / warmup if tokens < warmup else 1.0
    return settings.learning_rate * min(risen, floor + (1.0 - floor) * shape)


def _after_warmup(tokens: float, budget: int, settings: TrainingSettings) -> float:
    """How much of what follows the warm-up is done, from 0 to 1."""
    warmup = settings.warmup_fraction * budget
    return max(0.0, (tokens - warmup) / (budget - warmup))


def _decay(tokens: float, start: int, end: int, fraction: float) -> float:
    """1, then 1 - sqrt over the last part of [start, end]."""
    length = fraction * (end - start)
    done = tokens - (end - length)
    return 1.0 if done <= 0 else 1.0 - math.sqrt(done / length)
