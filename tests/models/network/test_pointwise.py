"""Norm, rotation and gate with their written-out gradients: those of autograd through the plain formulas."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.network.pointwise import RMSNorm, gated, rotate, side_by_side
from models.network.products import Linear

torch.set_num_threads(1)
EPSILON = 0.1


def norm(x: Tensor, weight: Tensor) -> Tensor:
    module = RMSNorm(x.shape[-1], EPSILON)
    return torch.func.functional_call(module, {"weight": weight}, (x,))


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + EPSILON).sqrt() * weight


def plain_rotation(x: Tensor, angles: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)


ANGLES = torch.rand(5, 4, generator=torch.Generator().manual_seed(3)) * 6


def rotation(x: Tensor) -> Tensor:
    both = torch.cat((ANGLES, ANGLES), -1)[:, None]
    return rotate(x, both.cos(), torch.cat((-ANGLES.sin(), ANGLES.sin()), -1)[:, None])


def plain_gate(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, -1)
    return gate * torch.sigmoid(gate) * up


CASES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "norm": (norm, plain_norm, [(2, 5, 8), (8,)]),
    "norm of heads": (norm, plain_norm, [(2, 5, 3, 8), (8,)]),
    "rotation": (rotation, lambda x: plain_rotation(x, ANGLES.double()), [(2, 5, 3, 8)]),
    "gate": (gated, plain_gate, [(2, 5, 8)]),
}


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_the_plain_formula(case: str, strided: bool) -> None:
    ours, theirs, shapes = CASES[case]
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    wide = [x.double().requires_grad_() for x in inputs]
    if strided:  # as a part of a wider product
        inputs[0] = torch.cat((inputs[0], inputs[0]), -1)[..., : shapes[0][-1]]
    inputs = [x.requires_grad_() for x in inputs]
    out, expected = ours(*inputs), theirs(*wide)
    assert (out - expected).abs().max() < 1e-6
    slope = torch.randn(out.shape, generator=generator)
    for found, right in zip(
        torch.autograd.grad(out, inputs, slope), torch.autograd.grad(expected, wide, slope.double()), strict=True
    ):
        assert (found - right).abs().max() < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_inputs_are_left_as_they_are(case: str) -> None:
    ours, _, shapes = CASES[case]
    inputs = [torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_() for shape in shapes]
    before = [x.detach().clone() for x in inputs]
    ours(*inputs).sum().backward()
    assert all(torch.equal(x, kept) for x, kept in zip(inputs, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_other_precisions_take_the_plain_formula(case: str, dtype: torch.dtype) -> None:
    ours, theirs, shapes = CASES[case]
    inputs = [torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype) for shape in shapes]
    expected = theirs(*(x.double() for x in inputs))
    assert (ours(*inputs).double() - expected).abs().max() < (1e-6 if dtype == torch.float64 else 0.1)


def test_an_enormous_vector_is_normed_and_a_null_vector_stays_null() -> None:
    x = torch.tensor([[3e15, 4e15], [0.0, 0.0]])
    out = norm(x, torch.ones(2))
    assert torch.allclose(out, torch.tensor([[0.6, 0.8], [0.0, 0.0]]) * 2**0.5)


def test_projections_side_by_side_are_the_projections() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 8, generator=generator)
    projections = [Linear(8, width) for width in (4, 2, 6)]
    out = side_by_side(x, *projections)
    assert torch.allclose(out, torch.cat([F.linear(x, p.weight) for p in projections], -1), atol=1e-6)
