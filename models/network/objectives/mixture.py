"""Several objectives, each for its share of the samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.network.objectives.base import Batched, Objective, Sample
from models.network.objectives.chance import key_of

_STEP = np.uint64(math.isqrt(2 << 128) - (1 << 64) | 1)
"""(√2 - 1) 2^64. The token store's schedule turns by the golden ratio: with the same turn here, what a sample is made
of would decide how it is learned."""


@dataclass(frozen=True)
class Mixture(Batched):
    """Each sample by one of several objectives, which need the same attention.

    Sample k falls on the point k (√2 - 1) + c(seed) mod 1, and each objective has an interval as wide as its weight (a
    Kronecker sequence; Weyl 1916). So any run of samples, a batch too, holds its share of each: no objective is off by
    8 samples in any 100,000 in a row (measured, and tested). Weights count samples. The loss counts targets, of which
    `Prefix` has half as many as `Causal`, and `Span` a fifth (by default, in long documents).

    Args:
        objectives: what is mixed.
        weights: positive, one for each; only their ratios count.
    """

    objectives: tuple[Objective, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if (
            len(self.objectives) != len(self.weights)
            or not self.weights
            or not all(0 < w < math.inf for w in self.weights)
        ):
            raise ValueError(f"weights {self.weights}: expected a positive number for each objective")

    def choose(self, seed: int, sample_ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
        """Which objective each sample is for, int64[n]."""
        total = math.fsum(self.weights)
        parts = [math.fsum(self.weights[:number]) / total for number in range(1, len(self.weights))]
        bounds = np.array([min(int(part * 2**64), 2**64 - 1) for part in parts], np.uint64)
        points = np.asarray(sample_ids).astype(np.uint64) * _STEP + key_of(seed)
        return np.searchsorted(bounds, points, side="right").astype(np.int64)

    def batch(self, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """See `Objective`."""
        identities = np.asarray(sample_ids)
        chosen = self.choose(seed, identities)
        shape = len(tokens), tokens.shape[1] - 1
        parts = np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.int64)
        for number in np.unique(chosen):
            rows = np.flatnonzero(chosen == number)
            made = self.objectives[number].batch(tokens[rows], documents[rows], seed, identities[rows].tolist())
            for part, values in zip(parts, made, strict=True):
                part[rows] = values
        return parts
