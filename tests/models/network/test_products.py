"""Products by oneDNN: those of torch, gradients included, at every shape that takes them."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from models.network import products
from models.network.products import Linear, fits, multiply, product

SHAPES = [(512, 256, 136), (1, 4096, 4096), (2048, 129, 127)]


def of(shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, inner, outputs = shape
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(*size, generator=generator) for size in ((rows, inner), (outputs, inner), (rows, outputs))]
    return draw[0].requires_grad_(), draw[1].requires_grad_(), draw[2]


@pytest.mark.parametrize("shape", SHAPES)
def test_products_and_gradients_are_those_of_doubles(shape: tuple[int, int, int]) -> None:
    x, w, dy = of(shape)
    assert fits(x, w)
    out = product(x, w)
    out.backward(dy)
    wide = [each.detach().double().requires_grad_() for each in (x, w)]
    expected = F.linear(*wide)
    expected.backward(dy.double())
    for ours, theirs in ((out, expected), (x.grad, wide[0].grad), (w.grad, wide[1].grad)):
        assert (ours - theirs).abs().max() < 2e-6 * theirs.abs().max() * shape[1] ** 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_factors_give_the_same_bits(shape: tuple[int, int, int]) -> None:
    x, w, dy = of(shape)
    found = []
    for _ in range(3):
        x.grad = w.grad = None
        out = product(x, w)
        out.backward(dy)
        found.append((out.detach(), x.grad, w.grad))
    assert all(torch.equal(ours, first) for again in found for ours, first in zip(again, found[0], strict=True))


def test_rows_may_have_any_number_of_axes() -> None:
    x, w, dy = of(SHAPES[0])
    product(x.view(2, 256, 256), w).backward(dy.view(2, 256, 136))
    seen = x.grad.clone(), w.grad.clone()
    x.grad = w.grad = None
    product(x, w).backward(dy)
    assert torch.equal(seen[0], x.grad)
    assert torch.equal(seen[1], w.grad)


def test_factors_may_be_turned() -> None:
    x, w, _ = (each.detach() for each in of(SHAPES[0]))
    plain = multiply(x, w)
    assert torch.allclose(multiply(x.t().contiguous().t(), w.t().contiguous().t()), plain, atol=1e-4)


def test_what_needs_no_gradient_gets_none() -> None:
    x, w, dy = of(SHAPES[0])
    w.requires_grad_(False)
    product(x, w).backward(dy)
    assert x.grad is not None
    assert w.grad is None


@pytest.mark.parametrize(
    "other", [lambda x: x[:8], lambda x: x.double(), lambda x: x.bfloat16()], ids=["small", "double", "bfloat16"]
)
def test_all_others_are_left_to_torch(other: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x, w, _ = of(SHAPES[0])
    x, w = other(x), w.to(other(x).dtype)
    assert not fits(x, w)
    assert torch.equal(product(x, w), F.linear(x, w))


def test_autocast_decides_for_itself() -> None:
    x, w, _ = of(SHAPES[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(x, w).dtype == torch.bfloat16


def test_a_layer_is_torchs_layer() -> None:
    layer = Linear(256, 136)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    x, w, _ = of(SHAPES[0])
    with torch.no_grad():
        layer.weight.copy_(w)
    assert torch.allclose(layer(x), F.linear(x, w), atol=1e-4)


def test_a_build_without_onednn_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, _ = of(SHAPES[0])
    ours = product(x, w)
    monkeypatch.setattr(products, "_ONEDNN", False)
    assert not fits(x, w)
    assert torch.allclose(product(x, w), ours, atol=1e-4)
