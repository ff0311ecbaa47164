"""Intervals for the audit: rates, differences of rates, strata, log odds, and scores over templates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

Z = 1.959964
"""Of a 95 % interval."""
REPETITIONS = 2000


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def wilson(count: int, of: int) -> Estimate:
    """A rate with Wilson's score interval (Wilson 1927)."""
    if of == 0:
        return Estimate(math.nan, 0.0, 1.0)
    rate, z2 = count / of, Z * Z
    centre = (rate + z2 / (2 * of)) / (1 + z2 / of)
    half = Z / (1 + z2 / of) * math.sqrt(rate * (1 - rate) / of + z2 / (4 * of * of))
    return Estimate(rate, max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half)))


def difference(count: int, of: int, other_count: int, other_of: int) -> Estimate:
    """A rate less another one, with Newcombe's hybrid score interval (Newcombe 1998, method 10)."""
    one, two = wilson(count, of), wilson(other_count, other_of)
    value = one.value - two.value
    below = math.hypot(one.value - one.low, two.high - two.value)
    above = math.hypot(one.high - one.value, two.value - two.low)
    return Estimate(value, value - below, value + above)


def stratified_difference(strata: Iterable[tuple[int, int, int, int]]) -> Estimate | None:
    """Mantel and Haenszel's difference of rates over strata of (count, of, other count, other of); None: no stratum
    has both.

    Each stratum weighs n₁n₀/(n₁+n₀) (Greenland and Robins 1985). In the variance, rates are those of one more case of
    each kind (Agresti and Caffo 2000), so that a stratum of two documents that both went is not certain.
    """
    total = value = variance = 0.0
    for count, of, other_count, other_of in strata:
        if of == 0 or other_of == 0:
            continue
        weight = of * other_of / (of + other_of)
        total += weight
        value += weight * (count / of - other_count / other_of)
        variance += weight**2 * (_spread(count, of) + _spread(other_count, other_of))
    if total == 0:
        return None
    value, error = value / total, Z * math.sqrt(variance) / total
    return Estimate(value, value - error, value + error)


def _spread(count: int, of: int) -> float:
    rate = (count + 1) / (of + 2)
    return rate * (1 - rate) / (of + 2)


class Sums(NamedTuple):
    """Over documents d with a_d hits of n_d: Σ a, Σ n, Σ a², Σ a n, Σ n²."""

    hits: float
    of: float
    hits2: float
    cross: float
    of2: float


def log_odds_ratio(one: Sums, two: Sums, smoothing: float) -> Estimate | None:
    """ln of the odds of a hit in one over those in another; None where either has nothing to hit, or nothing is hit.

    Both get `smoothing` hits more, among as many words as have so many at the rate of both together: the informative
    prior of Monroe et al. 2008 ("Fightin' Words"), which pulls what is seldom seen towards no difference. (A constant
    added to hits and misses alike would make much of a rare word that is not there.) Its variance is 1/a + 1/b + 1/c +
    1/d. Hits come in documents, not one by one: where the spread between documents (the linearised variance of a
    ratio) is larger than that, it is taken instead.
    """
    hit, of = one.hits + two.hits, one.of + two.of
    if one.of == 0 or two.of == 0 or hit in (0, of):
        return None
    prior = smoothing * of / hit
    value = variance = 0.0
    for sign, sums in ((1, one), (-1, two)):
        hits = sums.hits + smoothing
        misses = sums.of + prior - hits
        value += sign * math.log(hits / misses)
        rate = hits / (hits + misses)
        clustered = (sums.hits2 - 2 * rate * sums.cross + rate**2 * sums.of2) / (sums.of * rate * (1 - rate)) ** 2
        variance += max(1 / hits + 1 / misses, clustered)
    error = Z * math.sqrt(variance)
    return Estimate(value, value - error, value + error)


def bootstrap_mean(values: Sequence[float], seed: int) -> Estimate:
    """The mean of values, one for each template, with the percentile interval of the bootstrap over them."""
    numbers = np.asarray(values, float)
    drawn = np.random.default_rng(seed).integers(0, len(numbers), (REPETITIONS, len(numbers)))
    low, high = np.percentile(numbers[drawn].mean(axis=1), [2.5, 97.5])
    return Estimate(float(numbers.mean()), float(low), float(high))
