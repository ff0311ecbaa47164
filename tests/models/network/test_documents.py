"""Where documents lie: worked out once, in several forms that must agree."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.network.documents import Documents


@st.composite
def rows(draw: st.DrawFn) -> list[list[int]]:
    """Lengths of the documents of each row, of one length in all."""
    length = draw(st.integers(1, 24))
    found = []
    for _ in range(draw(st.integers(1, 4))):
        cuts = draw(st.sets(st.integers(1, max(1, length - 1)), max_size=length - 1)) if length > 1 else set()
        found.append(np.diff([0, *sorted(cuts), length]).tolist())
    return found


def numbered(lengths: list[list[int]], first: int = 0) -> np.ndarray:
    return np.stack([np.repeat(np.arange(len(row)) + first, row) for row in lengths])


@given(lengths=rows(), first=st.integers(0, 10**6))
def test_lengths_positions_and_bounds_agree(lengths: list[list[int]], first: int) -> None:
    numbers = numbered(lengths, first)
    found = Documents.of(numbers)
    if all(len(row) == 1 for row in lengths):
        assert found is None
        return
    assert found is not None
    flat = [length for row in lengths for length in row]
    assert found.lengths == tuple(flat)
    assert found.positions.flatten().tolist() == [at for length in flat for at in range(length)]
    assert found.bounds.tolist()[: len(flat) + 1] == np.cumsum([0, *flat]).tolist()
    assert torch.equal(found.numbers.diff() != 0, torch.from_numpy(numbers).diff() != 0)
    assert (found.positions.dtype, found.bounds.dtype) == (torch.int64, torch.int32)


@given(lengths=rows())
def test_bounds_are_padded_with_the_end_to_a_power_of_two(lengths: list[list[int]]) -> None:
    found = Documents.of(numbered(lengths))
    if found is not None:
        size, documents = len(found.bounds), len(found.lengths)
        assert size & (size - 1) == 0
        assert documents < size <= 2 * documents
        assert set(found.bounds[documents:].tolist()) == {sum(found.lengths)}


@given(lengths=rows())
def test_tensors_and_arrays_are_read_alike(lengths: list[list[int]]) -> None:
    numbers = numbered(lengths)
    one, other = Documents.of(numbers), Documents.of(torch.from_numpy(numbers))
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.lengths == other.lengths
        for name in ("numbers", "positions", "bounds"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_the_end_of_a_row_ends_a_document() -> None:
    """The last document of one row and the first of the next may have the same number."""
    found = Documents.of(np.array([[0, 0, 1, 1], [1, 1, 1, 1]]))
    assert found is not None
    assert found.lengths == (2, 2, 4)
    assert found.positions.tolist() == [[0, 1, 0, 1], [0, 1, 2, 3]]
