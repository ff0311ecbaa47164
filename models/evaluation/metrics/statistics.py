"""Metrics as statistics that add up.

A `Statistic` turns one (prediction, reference) into a short vector; vectors of any number of workers are
concatenated; `finalize` makes the figure, its standard error and a signature from all of them. The figure does not
depend on how the items were spread over workers or in which order they came.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]
"""[n, k]: one vector for each item."""

_BOOTSTRAP_SEED = 12345


@dataclass(frozen=True)
class Figure:
    """A metric's value, its standard error (None where it has none), what it was computed over, and how."""

    value: float
    stderr: float | None
    n: int
    signature: str


class Statistic(ABC):
    """One metric: how an item becomes numbers, and how numbers become a figure."""

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    width: ClassVar[int] = 1
    """k: how many numbers an item leaves."""

    @abstractmethod
    def update(self, prediction: Any, reference: Any) -> Sequence[float]:
        """The `width` numbers of one item."""

    @abstractmethod
    def finalize(self, rows: Rows) -> Figure:
        """The figure of [n, k] rows. Raises ValueError where there are none."""

    def rows(self, predictions: Iterable[Any], references: Iterable[Any]) -> Rows:
        """[n, k] rows of items. Raises ValueError when the two differ in length."""
        vectors = [self.update(p, r) for p, r in zip(predictions, references, strict=True)]
        return np.asarray(vectors, dtype=np.float64).reshape(len(vectors), self.width)

    @staticmethod
    def merge(parts: Iterable[Rows]) -> Rows:
        """Rows of several workers as one."""
        return np.concatenate(list(parts))

    def compute(self, predictions: Iterable[Any], references: Iterable[Any]) -> Figure:
        """The figure of items at once."""
        return self.finalize(self.rows(predictions, references))


class Mean(Statistic):
    """Statistics whose figure is the mean of one number an item, times `scale`.

    The standard error is s / sqrt(n) with the n - 1 variance; for shares that is sqrt(p (1 - p) / (n - 1)).
    """

    scale: ClassVar[float] = 1.0

    def finalize(self, rows: Rows) -> Figure:
        """The mean of the first column."""
        values = self.scale * np.sort(_some(self, rows)[:, 0])
        stderr = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
        return Figure(float(values.mean()), stderr, len(values), self.signature())

    def signature(self) -> str:
        """How the mean's items are defined."""
        return f"{self.name}|average:items|se:normal"


class Corpus(Statistic):
    """Statistics whose figure is a function of the sums over all items; standard error by bootstrap over items.

    Args:
        replicates: how often the items are drawn again.
    """

    def __init__(self, replicates: int = 200) -> None:
        self.replicates = replicates

    @abstractmethod
    def score(self, sums: npt.NDArray[np.float64]) -> float:
        """The figure of summed rows [k]."""

    @abstractmethod
    def signature(self) -> str:
        """How the figure is defined."""

    def finalize(self, rows: Rows) -> Figure:
        """The score of the sums."""
        rows = _some(self, rows)
        rows = rows[np.lexsort(rows.T[::-1])]
        n = len(rows)
        stderr = None
        if n > 1 and self.replicates > 1:
            draw = np.random.Generator(np.random.PCG64(_BOOTSTRAP_SEED))
            weights = draw.multinomial(n, np.full(n, 1 / n), size=self.replicates)
            stderr = float(np.std([self.score(sums) for sums in weights @ rows], ddof=1))
        return Figure(self.score(rows.sum(axis=0)), stderr, n, f"{self.signature()}|se:bootstrap-{self.replicates}")


def _some(statistic: Statistic, rows: Rows) -> Rows:
    if rows.ndim != 2 or rows.shape[1] != statistic.width or not len(rows):
        raise ValueError(f"{statistic.name}: expected rows [n > 0, {statistic.width}], found {list(rows.shape)}")
    return rows
