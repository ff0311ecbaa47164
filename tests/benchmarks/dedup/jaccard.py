"""The Jaccard similarity of all pairs, without any sketch: what candidates are judged by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.curation.words import fold


def words(text: str) -> list[str]:
    """Runs of letters and digits, folded, all digits alike: the definition, for scripts that part words by spaces."""
    return "".join("0" if part.isdigit() else part if part.isalnum() else " " for part in fold(text)).split()


class Shingles:
    """Texts as sorted sets of numbers, one for each different shingle of k words that there is."""

    def __init__(self, texts: Sequence[str], k: int = 5) -> None:
        known: dict[tuple[str, ...], int] = {}
        sets = []
        for text in texts:
            found = words(text)
            windows = [tuple(found[i : i + k]) for i in range(max(1, len(found) - k + 1))] if found else []
            sets.append(np.array(sorted({known.setdefault(window, len(known)) for window in windows}), np.int64))
        self.sets = sets

    def jaccard(self, one: int, other: int) -> float:
        """Of two texts."""
        common = len(np.intersect1d(self.sets[one], self.sets[other], assume_unique=True))
        return common / max(1, len(self.sets[one]) + len(self.sets[other]) - common)

    def pairs(self, least: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """All pairs of at least this similarity, each compared: int64[n, 2], the smaller first; their similarities."""
        ends = np.cumsum([0, *map(len, self.sets)])
        values = np.concatenate([*self.sets, np.zeros(0, np.int64)])
        pairs, similarities = [], []
        for i in range(len(self.sets)):
            row = _against_later(ends, values, i, least)
            found = np.flatnonzero(row >= least)
            pairs.append(np.stack([np.full(len(found), i), i + 1 + found], axis=1))
            similarities.append(row[found])
        return np.concatenate(pairs), np.concatenate(similarities)


@njit(cache=True)
def _against_later(ends: NDArray[np.int64], values: NDArray[np.int64], i: int, least: float) -> NDArray[np.float64]:
    out = np.zeros(len(ends) - 2 - i)
    n = ends[i + 1] - ends[i]
    for j in range(i + 1, len(ends) - 1):
        m = ends[j + 1] - ends[j]
        if min(n, m) < least * max(n, m) or n == 0 or m == 0:
            continue
        a, b, common = ends[i], ends[j], 0
        while a < ends[i + 1] and b < ends[j + 1]:
            if values[a] == values[b]:
                common += 1
                a += 1
                b += 1
            elif values[a] < values[b]:
                a += 1
            else:
                b += 1
        out[j - i - 1] = common / (n + m - common)
    return out
