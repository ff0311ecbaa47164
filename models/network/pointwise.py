"""What stands between the matrix products, with gradients written out: few passes over memory, few tensors kept.

Eager torch makes some twenty passes of a norm, a rotation and a gate; on CPUs they cost as much as attention. These
make about half of that. GPUs have fused kernels for the norm, and `torch.compile` for the rest, so they take the plain
formulas.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.products import Linear, product


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang & Sennrich 2019), computed in fp32 and scaled by a learned vector."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        if _written_out(x):
            return _Norm.apply(x, self.weight, self.epsilon)
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.epsilon)


def rotate(x_BTHE: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each pair (e, e + E/2) by its position's angle.

    Args:
        x_BTHE: queries or keys.
        cosine: [T, 1, E] or [B, T, 1, E], both halves the same.
        sine: of the same shape, the first half negated.
    """
    if _written_out(x_BTHE):
        return _Rotation.apply(x_BTHE, cosine, sine)
    return x_BTHE * cosine + x_BTHE.roll(x_BTHE.shape[-1] // 2, -1) * sine


def gated(x: Tensor) -> Tensor:
    """silu(gate) * up of [..., 2F], gate first (Shazeer 2020)."""
    if _written_out(x):
        return _Gate.apply(x)
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


def side_by_side(x: Tensor, *projections: Linear) -> Tensor:
    """The outputs of several projections of the same input, one after another in the last axis.

    On a CPU narrow products are slow, so they are made one; elsewhere the copy of the weights would cost more than it
    saves. Weights that a sharding engine gathers as their module is called, and wrapped ones, stay apart too.
    """
    one = x.device.type == "cpu" and all(type(p) is Linear and not hasattr(p.weight, "ds_id") for p in projections)
    if one:
        return product(x, torch.cat([p.weight for p in projections]))
    return torch.cat([p(x) for p in projections], -1)


def _written_out(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling()


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        scale = square.div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (dy,) = gradients
        x, weight, scale = ctx.saved_tensors
        product = dy * x
        rows = product.flatten(0, -2)
        dw = scale.flatten() @ rows
        along = (rows @ weight).view_as(scale) * (scale**3 / -x.shape[-1])
        dx = torch.mul(dy, weight, out=product).mul_(scale).addcmul_(x, along)
        return dx, dw, None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turned(x, cosine, sine, 1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _turned(gradients[0], cosine, sine, -1.0), None, None


def _turned(x: Tensor, cosine: Tensor, sine: Tensor, sign: float) -> Tensor:
    half = x.shape[-1] // 2
    cosine, sine = cosine[..., :half], sine[..., half:]
    first, second = x[..., :half], x[..., half:]
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    torch.mul(first, cosine, out=out[..., :half]).addcmul_(second, sine, value=-sign)
    torch.mul(second, cosine, out=out[..., half:]).addcmul_(first, sine, value=sign)
    return out


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        gate, up = x.chunk(2, -1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (dy,) = gradients
        (x,) = ctx.saved_tensors
        gate, up = x.chunk(2, -1)
        dx = torch.empty_like(x)
        dgate, dup = dx.chunk(2, -1)
        torch.ops.aten.silu_backward.grad_input(dy * up, gate, grad_input=dgate)
        torch.mul(F.silu(gate), dy, out=dup)
        return dx
