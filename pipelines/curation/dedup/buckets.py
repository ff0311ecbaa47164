"""Documents with equal keys: which of them are duplicates, as edges of a graph.

A bucket of n documents gives n - 1 edges, a star, never n^2 / 2 pairs. With verification its documents are compared by
their sketches; those with the same sketch count as one, and of more than `COMPARED` different sketches each is
compared with the first so many only. What comes out depends on the rows alone, not on their order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from pipelines.curation.dedup.components import Edges
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.minhash import SKETCH_WORDS
from pipelines.curation.dedup.sorting import sort_rows
from pipelines.kernels import njit

COMPARED = 4096

KEY, NODE, REST = 0, 1, 2
"""Columns of rows: the key, the node, and what else must agree (the key's other half) or is compared (the sketch)."""


class Bucketed(NamedTuple):
    """What the rows of a slice come to."""

    edges: Edges
    """At the beginning of the rows' memory."""
    buckets: int
    """Keys that several documents have."""
    largest: int
    """Documents of the largest."""


def exact_edges(rows: Rows) -> Bucketed:
    """Edges between documents with the same 128-bit key. Rows: half of the key, node, other half; overwritten."""
    sort_rows(rows)
    return _bucketed(rows, *stars(rows, True, _room(rows)))


def near_edges(rows: Rows, verify: float | None, sketched: int) -> Bucketed:
    """Edges between documents that share a band.

    Args:
        rows: key, node, and with `verify` the sketch; overwritten.
        verify: the least estimated similarity.
        sketched: how many minima a sketch holds.
    """
    sort_rows(rows)
    if verify is None:
        return _bucketed(rows, *stars(rows, False, _room(rows)))
    # An estimate of at least `verify` is that many minima agreeing, by chance or not; see minhash.similarity.
    most_different = int(np.floor(sketched * 0.75 * (1 - verify) + 1e-9))
    return _bucketed(rows, *compare(rows, most_different, COMPARED, _room(rows)))


def _room(rows: Rows) -> Edges:
    """The rows' memory for edges, of which there are fewer than rows: so many behind a row are those of rows before."""
    return rows.reshape(-1)[: 2 * len(rows)].reshape(-1, 2)


def _bucketed(rows: Rows, edges: int, buckets: int, largest: int) -> Bucketed:
    return Bucketed(_room(rows)[:edges], buckets, largest)


def beginnings(*columns: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Where a bucket begins, in sorted rows."""
    starts = np.ones(len(columns[0]), bool)
    starts[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return starts


@njit("UniTuple(int64, 3)(uint64[:, ::1], boolean, uint64[:, ::1])", cache=True, nogil=True)
def stars(rows: NDArray[np.uint64], whole: bool, edges: NDArray[np.uint64]) -> tuple[int, int, int]:
    """Write edges from the nodes of each bucket to its first; returns how many edges, buckets, and rows of the largest.

    Args:
        rows: [n, w], sorted.
        whole: whether the column `REST` is part of the key.
        edges: [n, 2] to fill; may be the rows' memory.
    """
    count = buckets = largest = begin = 0
    while begin < len(rows):
        key, first, rest = rows[begin, KEY], rows[begin, NODE], rows[begin, rows.shape[1] - 1]
        end = begin + 1
        while end < len(rows) and rows[end, KEY] == key and (not whole or rows[end, REST] == rest):
            edges[count, 0], edges[count, 1] = rows[end, NODE], first
            count += 1
            end += 1
        if end - begin > 1:
            buckets += 1
            largest = max(largest, end - begin)
        begin = end
    return count, buckets, largest


@njit("int64(uint64[:, ::1], int64, int64)", cache=True, nogil=True, inline="always")
def differences(rows: NDArray[np.uint64], one: int, two: int) -> int:
    """How many of the minima of two rows' sketches differ in their two bits."""
    half = SKETCH_WORDS // 2
    total = 0
    for word in range(REST, REST + half):
        x = rows[one, word] ^ rows[two, word]
        x |= rows[one, word + half] ^ rows[two, word + half]
        x = x - ((x >> uint64(1)) & uint64(0x5555555555555555))
        x = (x & uint64(0x3333333333333333)) + ((x >> uint64(2)) & uint64(0x3333333333333333))
        x = (x + (x >> uint64(4))) & uint64(0x0F0F0F0F0F0F0F0F)
        total += int((x * uint64(0x0101010101010101)) >> uint64(56))
    return total


@njit("UniTuple(int64, 3)(uint64[:, ::1], int64, int64, uint64[:, ::1])", cache=True, nogil=True)
def compare(
    rows: NDArray[np.uint64], most_different: int, compared: int, edges: NDArray[np.uint64]
) -> tuple[int, int, int]:
    """As `stars`, edges between nodes of one bucket that are alike, fewer than it has nodes.

    Args:
        rows: [n, 6], sorted.
        most_different: minima that may differ.
        compared: see the module.
        edges: [n, 2] to fill; may be the rows' memory.
    """
    count = buckets = largest = begin = longest = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end, KEY] != rows[begin, KEY]:
            longest = max(longest, end - begin)
            begin = end
    parent, place, found = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty((longest, 2), np.uint64)
    begin = 0
    while begin < len(rows):
        key = rows[begin, KEY]
        end = begin
        alike = different = 0
        while end < len(rows) and rows[end, KEY] == key:
            same = different > 0
            if same:
                for word in range(REST, rows.shape[1]):
                    same = same and rows[end, word] == rows[place[different - 1], word]
            if same:
                found[alike, 0], found[alike, 1] = end, place[different - 1]
                alike += 1
            else:
                place[different] = end
                parent[different] = different
                different += 1
            end += 1
        for i in range(1, different):
            for j in range(min(i, compared)):
                one, two = i, j
                while parent[one] != one:
                    one = parent[one]
                while parent[two] != two:
                    two = parent[two]
                if one != two and differences(rows, place[i], place[j]) <= most_different:
                    parent[max(one, two)] = min(one, two)
                    found[alike, 0], found[alike, 1] = place[i], place[j]
                    alike += 1
        for i in range(alike):
            found[i, 0], found[i, 1] = rows[found[i, 0], NODE], rows[found[i, 1], NODE]
        for i in range(alike):
            edges[count, 0], edges[count, 1] = found[i, 0], found[i, 1]
            count += 1
        if end - begin > 1:
            buckets += 1
            largest = max(largest, end - begin)
        begin = end
    return count, buckets, largest
