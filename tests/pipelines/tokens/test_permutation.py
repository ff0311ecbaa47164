"""Permutations: bijections of any size that depend on their key alone, equal to their definition."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tokens.permutation import Permutation

MASK = (1 << 64) - 1


def definition(size: int, position: int, *key: object) -> int:
    """Six Feistel rounds on two halves of equal width, walked until the value is in range."""
    bits = max(1, ((size - 1).bit_length() + 1) // 2)
    half = (1 << bits) - 1
    digest = hashlib.blake2b(repr(key).encode(), digest_size=48).digest()
    value = position
    while True:
        left, right = value >> bits, value & half
        for at in range(0, 48, 8):
            mixed = right + int.from_bytes(digest[at : at + 8], "little") & MASK
            mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & MASK
            mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & MASK
            left, right = right, left ^ (mixed ^ mixed >> 31) & half
        value = left << bits | right
        if value < size:
            return value


@given(size=st.integers(1, 400), seed=st.integers(0, 2**64))
def test_a_permutation_is_a_bijection(size: int, seed: int) -> None:
    assert sorted(Permutation(size, seed)(np.arange(size))) == list(range(size))


@given(size=st.integers(1, 2**48), seed=st.integers(0, 2**64), data=st.data())
def test_the_kernel_is_the_definition(size: int, seed: int, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8))
    found = Permutation(size, "windows", seed)(np.array(positions)).tolist()
    assert found == [definition(size, position, "windows", seed) for position in positions]
    assert found[0] == Permutation(size, "windows", seed)[positions[0]]


def test_permutations_of_epochs_differ_and_leave_no_order_behind() -> None:
    first, second = (Permutation(5000, 1, "web", epoch)(np.arange(5000)) for epoch in (0, 1))
    assert first.tolist() != second.tolist()
    # Of uniformly random permutations, neighbours correlate with sigma 1/sqrt(5000) = 0.014.
    for order in (first, second):
        assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.07
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.07


def test_a_permutation_does_not_depend_on_the_process() -> None:
    assert [Permutation(1000, "windows", 7, "web", 0)[i] for i in range(5)] == [630, 118, 947, 564, 247]


def test_positions_outside_are_refused() -> None:
    for wrong in (-1, 7):
        with pytest.raises(IndexError, match=r"0 … 6"):
            Permutation(7, 1)(np.array([0, wrong]))
    with pytest.raises(ValueError, match="0 values"):
        Permutation(0, 1)
