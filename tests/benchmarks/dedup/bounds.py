"""Where a count lies with a probability, if each of n trials succeeds with probability p."""

from __future__ import annotations

import math

import numpy as np


def binomial_bounds(n: int, p: float, level: float = 0.99) -> tuple[int, int]:
    """The least and largest count that leave at most (1 - level) / 2 outside on either side.

    Trials of different probabilities with the mean p vary less, so the bounds hold for them too (Hoeffding 1956).
    """
    if p <= 0 or p >= 1:
        return (0, 0) if p <= 0 else (n, n)
    counts = np.arange(n + 1)
    log_factorials = np.array([math.lgamma(k + 1) for k in counts])
    logs = log_factorials[n] - log_factorials - log_factorials[::-1] + counts * math.log(p)
    logs += (n - counts) * math.log1p(-p)
    below = np.cumsum(np.exp(logs))
    outside = (1 - level) / 2
    # Rounding leaves the sum a little off 1.
    return int(np.argmax(below > outside)), int(np.argmax(below >= below[-1] - outside))
