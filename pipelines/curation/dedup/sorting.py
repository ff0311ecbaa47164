"""Rows put in order where they lie: a sort beside them would double what a task holds.

By digits of eight bits, the first digit first, rows swapped in place (McIlroy, Bostic & McIlroy 1993, "Engineering
Radix Sort"): time is linear and no order of rows is worse than another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.kernels import njit

_FEW = 32
"""So few rows are sorted by insertion."""


def sort_rows(rows: NDArray[np.uint64]) -> None:
    """Sort uint64 [n, w] in place by key, then by what is behind the node from the last column on, then by node."""
    columns = np.array([0, *range(rows.shape[1] - 1, 1, -1), 1])
    if not _sorted(rows, columns):
        _sort(rows, columns)


@njit("boolean(uint64[:, ::1], int64[::1])", cache=True, nogil=True)
def _sorted(rows: NDArray[np.uint64], columns: NDArray[np.int64]) -> bool:
    for i in range(1, len(rows)):
        for column in columns:
            if rows[i - 1, column] != rows[i, column]:
                if rows[i - 1, column] > rows[i, column]:
                    return False
                break
    return True


@njit("void(uint64[:, ::1], int64, int64, int64[::1], int64, uint64[::1])", cache=True, nogil=True)
def _insert(
    rows: NDArray[np.uint64], begin: int, end: int, columns: NDArray[np.int64], first: int, row: NDArray[np.uint64]
) -> None:
    width = rows.shape[1]
    for i in range(begin + 1, end):
        for word in range(width):
            row[word] = rows[i, word]
        j = i
        while j > begin:
            less = False
            for at in range(first, len(columns)):
                one, two = row[columns[at]], rows[j - 1, columns[at]]
                if one != two:
                    less = one < two
                    break
            if not less:
                break
            for word in range(width):
                rows[j, word] = rows[j - 1, word]
            j -= 1
        for word in range(width):
            rows[j, word] = row[word]


@njit("void(uint64[:, ::1], int64[::1])", cache=True, nogil=True)
def _sort(rows: NDArray[np.uint64], columns: NDArray[np.int64]) -> None:
    width, digits = rows.shape[1], 8 * len(columns)
    waiting = np.empty((256 * digits + 1, 3), np.int64)
    waiting[0, 0], waiting[0, 1], waiting[0, 2] = 0, len(rows), 0
    left = 1
    row, begins, ends = np.empty(width, np.uint64), np.empty(256, np.int64), np.empty(256, np.int64)
    while left:
        left -= 1
        begin, end, digit = waiting[left, 0], waiting[left, 1], waiting[left, 2]
        if end - begin <= _FEW:
            _insert(rows, begin, end, columns, digit >> 3, row)
            continue
        column, shift = columns[digit >> 3], np.uint64(56 - 8 * (digit & 7))
        ends[:] = 0
        for i in range(begin, end):
            ends[(rows[i, column] >> shift) & np.uint64(255)] += 1
        at = begin
        for value in range(256):
            begins[value] = at
            at += ends[value]
            ends[value] = at
        for value in range(256):
            while begins[value] < ends[value]:
                i = begins[value]
                own = np.int64((rows[i, column] >> shift) & np.uint64(255))
                if own != value:
                    j = begins[own]
                    for word in range(width):
                        rows[i, word], rows[j, word] = rows[j, word], rows[i, word]
                begins[own] += 1
        if digit + 1 < digits:
            at = begin
            for value in range(256):
                if ends[value] - at > 1:
                    waiting[left, 0], waiting[left, 1], waiting[left, 2] = at, ends[value], digit + 1
                    left += 1
                at = ends[value]


@njit("int64(uint64[:, ::1])", cache=True, nogil=True)
def _distinct(rows: NDArray[np.uint64]) -> int:
    count = min(1, len(rows))
    for i in range(1, len(rows)):
        new = False
        for word in range(rows.shape[1]):
            new = new or rows[i, word] != rows[count - 1, word]
        if new:
            for word in range(rows.shape[1]):
                rows[count, word] = rows[i, word]
            count += 1
    return count


def distinct(rows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Of sorted rows each once, at the beginning of the same memory."""
    return rows[: _distinct(rows)]


@njit(
    "void(Array(uint64, 2, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), int64[::1], uint64[:, ::1])",
    cache=True,
    nogil=True,
)
def _arrange(
    rows: NDArray[np.uint64], targets: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.uint64]
) -> None:
    for i in range(len(rows)):
        at = places[targets[i]]
        places[targets[i]] += 1
        for word in range(rows.shape[1]):
            out[at, word] = rows[i, word]


def arranged(rows: NDArray[np.uint64], targets: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A copy of rows [n, w], by their targets, those with the same in their order.

    Args:
        targets: int64[n].
        ends: behind the last row of each target.
    """
    out = np.empty(rows.shape, np.uint64)
    _arrange(np.ascontiguousarray(rows), targets, np.concatenate([[0], ends]), out)
    return out
