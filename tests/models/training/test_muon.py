"""Muon's polynomials reach further than Jordan's, both ways to use them agree, matrices in parts come back whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.training import muon
from models.training.muon import Cut, Sharing, in_a_row, in_slices, orthogonal, polynomials, update

torch.set_num_threads(1)
JORDAN = (3.4445, -4.7750, 2.0315)
SHAPES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=9)


def composed(coefficients, x):
    for a, b, c in coefficients:
        x = a * x + b * x**3 + c * x**5
    return x


def smallest(coefficients):
    """The value from which on all end between 0.67 and 1.33: Jordan's end between 0.68 and 1.13."""
    x = np.geomspace(1e-5, 1, 200_000)
    outside = np.flatnonzero(np.abs(composed(coefficients, x) - 1) > 0.33)
    return x[outside[-1] + 1]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_values_end_near_one_and_small_ones_are_lifted(count):
    ours = polynomials(count)
    assert len(ours) == count
    lowest = smallest(ours)
    assert lowest < 0.16 * 0.26 ** (count - 1)
    x = np.geomspace(1e-6, lowest, 1000)
    assert (composed(ours, x) >= 0.66 / lowest * x - 1e-9).all()


def test_four_polynomials_reach_as_far_as_jordans_five():
    jordans = smallest([JORDAN] * 5)
    assert smallest(polynomials(4)) < 1.5 * jordans
    assert smallest(polynomials(5)) < 0.4 * jordans


@pytest.mark.parametrize("shape", [(40, 90), (260, 700), (400, 260), (90, 40)])
def test_both_ways_to_use_them_agree(shape, monkeypatch):
    matrices = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)) * torch.logspace(-2, 0, shape[1])
    found = []
    for threshold in (0.0, 100.0):
        monkeypatch.setattr(muon, "_FLAT", threshold)
        found.append(orthogonal(matrices, 4))
    assert torch.allclose(*found, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_size_of_a_matrix_does_not_matter_and_nothing_stays_nothing(scale):
    matrices = torch.randn(1, 20, 30, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(orthogonal(matrices * scale, 4), orthogonal(matrices, 4), atol=1e-4)
    assert not orthogonal(torch.zeros(1, 20, 30), 4).any()
    one = torch.outer(torch.arange(1.0, 21), torch.arange(1.0, 31))[None] * scale
    values = torch.linalg.svdvals(orthogonal(one, 4))[0]
    assert 0.69 < values[0] < 1.31
    assert values[1] < 1e-2


@given(SHAPES, st.integers(1, 7), st.sampled_from([in_a_row, in_slices]))
def test_pieces_are_the_matrices(shapes, world, layout):
    cuts = layout(shapes, world)
    assert [cut.shape for cut in cuts] == shapes
    taken = set()
    for cut in cuts:
        assert sorted(element for p in cut.pieces for element in range(p.start, p.start + p.length)) == list(
            range(cut.elements)
        )
        assert cut.owner in range(world)
        for p in cut.pieces:
            places = {(p.worker, at) for at in range(p.at, p.at + p.length)}
            assert not places & taken
            taken |= places


@given(SHAPES, st.integers(1, 7))
def test_parts_are_deepspeeds(shapes, world):
    """ZeRO 1 and 2 align the whole to twice the number of workers; ZeRO 3 each matrix to the number of workers."""
    flat = torch.cat([torch.full((rows * columns,), float(i)) for i, (rows, columns) in enumerate(shapes)])
    padded = torch.cat([flat, flat.new_full((-len(flat) % (2 * world),), -1.0)])
    _same(in_a_row(shapes, world), list(padded.chunk(world)))
    slices = []
    for number, (rows, columns) in enumerate(shapes):
        matrix = torch.full((rows * columns,), float(number))
        slices.append(torch.cat([matrix, matrix.new_full((-len(matrix) % world,), -1.0)]).view(world, -1))
    _same(in_slices(shapes, world), list(torch.cat(slices, 1)))


def _same(cuts: list[Cut], parts: list[torch.Tensor]) -> None:
    for number, cut in enumerate(cuts):
        for p in cut.pieces:
            assert (parts[p.worker][p.at : p.at + p.length] == number).all()


@settings(max_examples=20)
@given(SHAPES, st.integers(1, 60), st.sampled_from([in_a_row, in_slices]))
def test_alone_a_part_is_everything(shapes, room, layout):
    draw = torch.Generator().manual_seed(len(shapes))
    matrices = [torch.randn(shape, generator=draw) for shape in shapes]
    part = torch.cat([*(matrix.flatten() for matrix in matrices), torch.full((3,), 7.0)])
    made = Sharing(layout(shapes, 1), 0, 1, room).updates(part, 3)
    expected = torch.cat([update(matrix[None], 3).flatten() for matrix in matrices])
    assert torch.allclose(made[:-3], expected, atol=1e-5)
    assert not made[-3:].any()


def test_a_part_of_another_size_is_refused():
    with pytest.raises(ValueError, match="11 elements does not hold"):
        Sharing(in_a_row([(3, 4)], 1), 0, 1, 100).updates(torch.zeros(11), 3)
