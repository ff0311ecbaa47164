"""Documents with equal keys: which of them are duplicates, as edges of a graph.

A bucket of n documents gives n - 1 edges, a star, never n^2 / 2 pairs. With verification its documents are compared by
their sketches; those with the same sketch count as one, and of more than `COMPARED` different sketches each is
compared with the first so many only. What comes out depends on the rows alone, not on their order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from pipelines.curation.dedup.components import Edges, forest
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.minhash import SKETCH_WORDS

COMPARED = 4096

KEY, NODE, REST = 0, 1, 2
"""Columns of rows: the key, the node, and what else must agree (the key's other half) or is compared (the sketch)."""


class Bucketed(NamedTuple):
    """What the rows of a slice come to."""

    edges: Edges
    """Reduced to a forest."""
    buckets: int
    """Keys that several documents have."""
    largest: int
    """Documents of the largest."""


def exact_edges(rows: Rows) -> Bucketed:
    """Edges between documents with the same 128-bit key. Rows: half of the key, node, other half."""
    shared = rows[repeated(rows[:, KEY])]
    shared = shared[np.lexsort((shared[:, NODE], shared[:, REST], shared[:, KEY]))]
    return _stars(shared, beginnings(shared[:, KEY], shared[:, REST]))


def near_edges(rows: Rows, verify: float | None, sketched: int) -> Bucketed:
    """Edges between documents that share a band.

    Args:
        rows: key, node, and with `verify` the sketch.
        verify: the least estimated similarity.
        sketched: how many minima a sketch holds.
    """
    shared = rows[repeated(rows[:, KEY])]
    if verify is None:
        shared = shared[np.lexsort((shared[:, NODE], shared[:, KEY]))]
        return _stars(shared, beginnings(shared[:, KEY]))
    sketch = [shared[:, REST + word] for word in range(SKETCH_WORDS)]
    shared = np.ascontiguousarray(shared[np.lexsort((shared[:, NODE], *sketch, shared[:, KEY]))])
    starts = beginnings(shared[:, KEY])
    # An estimate of at least `verify` is that many minima agreeing, by chance or not; see minhash.similarity.
    most_different = int(np.floor(sketched * 0.75 * (1 - verify) + 1e-9))
    pairs = np.empty((len(shared), 2), np.int64)
    bounds = np.append(np.flatnonzero(starts), len(shared))
    count = compare(np.ascontiguousarray(shared[:, REST:]), bounds, most_different, COMPARED, pairs)
    edges = shared[:, NODE][pairs[:count]]
    sizes = np.diff(bounds)
    return Bucketed(forest(edges), len(sizes), int(sizes.max(initial=0)))


def repeated(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Rows whose key another row has too."""
    if len(keys) < 2:
        return np.zeros(0, np.int64)
    order = np.argsort(keys)
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    return order[np.concatenate([same, [False]]) | np.concatenate([[False], same])]


def beginnings(*columns: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Where a bucket begins, in sorted rows."""
    starts = np.ones(len(columns[0]), bool)
    starts[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return starts


def _stars(rows: Rows, starts: NDArray[np.bool_]) -> Bucketed:
    begins = np.flatnonzero(starts)
    sizes = np.diff(begins, append=len(rows))
    nodes = rows[:, NODE]
    edges = np.stack([nodes, np.repeat(nodes[begins], sizes)], axis=1)[~starts]
    several = sizes[sizes > 1]
    return Bucketed(forest(edges), len(several), int(several.max(initial=0)))


@njit("int64(uint64[:, ::1], int64, int64)", cache=True, nogil=True, inline="always")
def differences(sketches: NDArray[np.uint64], one: int, two: int) -> int:
    """How many of two sketches' minima differ in their two bits."""
    half = sketches.shape[1] // 2
    total = 0
    for word in range(half):
        x = sketches[one, word] ^ sketches[two, word]
        x |= sketches[one, word + half] ^ sketches[two, word + half]
        x = x - ((x >> uint64(1)) & uint64(0x5555555555555555))
        x = (x & uint64(0x3333333333333333)) + ((x >> uint64(2)) & uint64(0x3333333333333333))
        x = (x + (x >> uint64(4))) & uint64(0x0F0F0F0F0F0F0F0F)
        total += int((x * uint64(0x0101010101010101)) >> uint64(56))
    return total


@njit("int64(uint64[:, ::1], int64[::1], int64, int64, int64[:, ::1])", cache=True, nogil=True)
def compare(
    sketches: NDArray[np.uint64],
    bounds: NDArray[np.int64],
    most_different: int,
    compared: int,
    pairs: NDArray[np.int64],
) -> int:
    """Write pairs of rows of one bucket that are alike; returns how many (at most one a row).

    Args:
        sketches: [n, 4], sorted within each bucket.
        bounds: where buckets begin, and the end.
        most_different: minima that may differ.
        compared: see the module.
        pairs: [n, 2] to fill.
    """
    count = 0
    longest = 0
    for b in range(len(bounds) - 1):
        longest = max(longest, bounds[b + 1] - bounds[b])
    parent, place = np.empty(longest, np.int64), np.empty(longest, np.int64)
    for b in range(len(bounds) - 1):
        different = 0
        for row in range(bounds[b], bounds[b + 1]):
            same = different > 0
            if same:
                for word in range(sketches.shape[1]):
                    same = same and sketches[row, word] == sketches[place[different - 1], word]
            if same:
                pairs[count, 0], pairs[count, 1] = row, place[different - 1]
                count += 1
            else:
                place[different] = row
                parent[different] = different
                different += 1
        for i in range(1, different):
            for j in range(min(i, compared)):
                one, two = i, j
                while parent[one] != one:
                    one = parent[one]
                while parent[two] != two:
                    two = parent[two]
                if one != two and differences(sketches, place[i], place[j]) <= most_different:
                    parent[max(one, two)] = min(one, two)
                    pairs[count, 0], pairs[count, 1] = place[i], place[j]
                    count += 1
    return count
