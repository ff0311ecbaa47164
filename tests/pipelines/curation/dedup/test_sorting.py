"""Rows sorted where they lie are those that numpy sorts beside them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.dedup.sorting import arranged, distinct, sort_rows

SEEDS = st.integers(0, 2**32 - 1)


def ordered(rows: np.ndarray) -> np.ndarray:
    rest = [rows[:, column] for column in range(2, rows.shape[1])]
    return rows[np.lexsort((rows[:, 1], *rest, rows[:, 0]))]


@given(SEEDS, st.integers(0, 300), st.sampled_from([2, 3, 6]), st.lists(st.integers(1, 64), min_size=6, max_size=6))
def test_sorted_and_each_once(seed: int, count: int, width: int, bits: list[int]):
    chance = np.random.Generator(np.random.PCG64(seed))
    # Columns of a few values, in the highest bits or the lowest, leave the order to those after them.
    rows = chance.integers(0, 2**64, (count, width), np.uint64) >> np.array(bits[:width], np.uint64)
    rows[: count // 2] <<= np.array(bits[:width], np.uint64)
    expected = ordered(rows)
    sort_rows(rows)
    assert np.array_equal(rows, expected)
    assert np.array_equal(np.unique(distinct(rows), axis=0), np.unique(expected, axis=0))


def test_no_order_takes_long():
    count = 200_000
    same, ascending = np.zeros((count, 6), np.uint64), np.arange(6 * count, dtype=np.uint64).reshape(count, 6)
    for rows in (same, ascending, ascending[::-1].copy(), np.repeat(ascending[:1000], 200, axis=0)):
        expected = ordered(rows)
        sort_rows(rows)
        assert np.array_equal(rows, expected)


@given(SEEDS, st.integers(0, 100), st.integers(1, 9))
@pytest.mark.parametrize("width", [1, 2, 5])
def test_arranged_by_targets_in_their_order(width: int, seed: int, count: int, slices: int):
    chance = np.random.Generator(np.random.PCG64(seed))
    rows = chance.integers(0, 2**64, (count, width), np.uint64)
    targets = chance.integers(0, slices, count)
    ends = np.cumsum(np.bincount(targets, minlength=slices))
    assert np.array_equal(arranged(rows, targets, ends), rows[np.argsort(targets, kind="stable")])
