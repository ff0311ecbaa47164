"""Products with a weight matrix, by the library that multiplies fastest here.

On CPUs torch takes MKL for fp32. oneDNN, which it carries too, is 10 to 20 % faster forward and for the gradient of the
states (an EPYC of 2023, one thread or two: `side peak` of tests.benchmarks.training); MKL is for the gradient of
weights. What is taken depends on the shapes alone, so a run that goes on computes the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEAST = 2**24
"""Multiplications of a product; in smaller ones a call of oneDNN costs more than it saves."""

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """A matrix without a bias; its weight may be gathered by a sharding engine as the module is called.

    Args:
        inputs: width of the states.
        outputs: width of the result.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """[..., outputs] of [..., inputs]."""
        return product(input, self.weight)


def product(x: Tensor, w_OI: Tensor) -> Tensor:
    """x @ w.T, [..., O] of [..., I]."""
    if not fits(x, w_OI):
        return F.linear(x, w_OI)
    out: Tensor = _Product.apply(x, w_OI)
    return out


def fits(x: Tensor, w: Tensor) -> bool:
    """Whether oneDNN is the faster way for this product."""
    here = _ONEDNN and x.device.type == "cpu" and x.dtype == w.dtype == torch.float32
    if not here or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return False
    return x.numel() * len(w) >= _LEAST


def multiply(x_NI: Tensor, w_OI: Tensor) -> Tensor:
    """x @ w.T by oneDNN, [N, O]; neither needs to be contiguous. It has no gradient."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, w_OI, None, "none", [], "")
    return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w_OI: Tensor) -> Tensor:
        ctx.save_for_backward(x, w_OI)
        return multiply(x.flatten(0, -2), w_OI).view(*x.shape[:-1], len(w_OI))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (dy,) = gradients
        x, w_OI = ctx.saved_tensors
        dy_NO = dy.flatten(0, -2)
        dx = multiply(dy_NO, w_OI.t()).view_as(x) if ctx.needs_input_grad[0] else None
        dw = torch.mm(dy_NO.t(), x.flatten(0, -2)) if ctx.needs_input_grad[1] else None
        return dx, dw
