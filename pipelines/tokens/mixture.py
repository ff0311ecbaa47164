"""How sources are mixed: weights in tokens, and a schedule that says which source sample k comes from.

The schedule is a table of one period, repeated for ever. Each source gets a whole number of places in the period
(largest remainder), spread evenly, so its share is right at every prefix to within one sample a source, plus the
rounding of the period (at most 1 in 65,536). Looking up sample k costs O(1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, model_validator

PERIOD = 1 << 16
_LONGEST_EXACT_PERIOD = 1 << 20


class MixtureSettings(BaseModel, extra="forbid", frozen=True):
    """What a training run draws from each source.

    Several passes over the same text are worth nearly as much as new text up to about four, and little after that
    (Muennighoff et al. 2023, arXiv 2305.16264), hence the default cap.
    """

    weights: dict[str, float] = Field(
        default_factory=dict,
        description="source -> share of the tokens drawn (any scale; they are normalised); a source that is not "
        "named is not used. Empty: every source by the tokens it has, so that one pass reads everything once",
    )
    max_epochs: float = Field(default=4.0, gt=0, description="no source may be read more often than this")

    @model_validator(mode="after")
    def _positive(self) -> MixtureSettings:
        for source, weight in self.weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {source!r} is {weight}: expected a positive number")
        return self


def largest_remainder(weights: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.int64]:
    """Whole numbers in proportion to the weights that sum to total exactly (Hamilton's method).

    Args:
        weights: [S] non-negative, not all zero.
        total: what is shared out.
    """
    exact = weights / weights.sum() * total
    whole = np.floor(exact).astype(np.int64)
    short = total - int(whole.sum())
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[:short]] += 1
    return whole


class Schedule:
    """Sample number -> (source, how many samples of that source came before).

    Args:
        windows: source -> how many distinct samples it has.
        settings: weights; sources without a sample are left out when the weights are empty.

    Raises:
        ValueError: a weighted source is unknown or has no sample, or nothing is left.
    """

    def __init__(self, windows: Mapping[str, int], settings: MixtureSettings) -> None:
        for source in settings.weights:
            if source not in windows:
                raise ValueError(f"mixture: no source {source!r}; there are {', '.join(sorted(windows)) or 'none'}")
            if not windows[source]:
                raise ValueError(f"mixture: source {source!r} is shorter than one sample")
        chosen = settings.weights or {source: float(count) for source, count in windows.items() if count}
        if not chosen:
            raise ValueError("mixture: no source is as long as one sample")
        self.sources = tuple(sorted(chosen))
        self.windows = np.array([windows[source] for source in self.sources], dtype=np.int64)
        weights = np.array([chosen[source] for source in self.sources])
        self.weights = weights / weights.sum()
        total = int(self.windows.sum())
        # By tokens available, a period of exactly one pass reads every window once, which rounding would not.
        exact = not settings.weights and total <= _LONGEST_EXACT_PERIOD
        self.period = total if exact else PERIOD
        self.quotas = self.windows.copy() if exact else largest_remainder(self.weights, self.period)
        if not self.quotas.all():
            starved = self.sources[int(np.argmin(self.quotas))]
            raise ValueError(f"mixture: the weight of {starved!r} is below 1 in {2 * self.period:,}; leave it out")
        self._table, self._rank = self._spread()

    def _spread(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        # The i-th of q places lies ideally at (i + 1/2) / q of the period; ties go by source order.
        rank = np.concatenate([np.arange(quota) for quota in self.quotas])
        source = np.repeat(np.arange(len(self.quotas), dtype=np.int32), self.quotas)
        order = np.lexsort((source, (rank + 0.5) / self.quotas[source]))
        return source[order], rank[order]

    def __call__(self, k: int) -> tuple[int, int]:
        """The source's position in `sources`, and how many of its samples come before sample k."""
        if k < 0:
            raise IndexError(f"sample {k}: expected 0 or more")
        block, place = divmod(k, self.period)
        source = int(self._table[place])
        return source, block * int(self.quotas[source]) + int(self._rank[place])

    def samples_within(self, epochs: float) -> int:
        """How many samples can be drawn before any source passes this many passes over its windows."""
        first = []
        for position, quota in enumerate(self.quotas):
            allowed = int(epochs * int(self.windows[position]) + 1e-9)
            block, rank = divmod(allowed, int(quota))
            places = np.flatnonzero(self._table == position)
            first.append(block * self.period + int(places[rank]))
        return min(first)

    def counts(self, samples: int) -> dict[str, int]:
        """How many of the first `samples` samples come from each source."""
        block, rest = divmod(samples, self.period)
        counted = block * self.quotas + np.bincount(self._table[:rest], minlength=len(self.sources))
        return dict(zip(self.sources, counted.tolist(), strict=True))
