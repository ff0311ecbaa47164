"""The output matrix and its cross-entropy in one step, so that a batch's logits are never held."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHUNK = 1024


class Head(nn.Linear):
    """The output matrix: logits, or with labels their summed cross-entropy.

    Both go through `forward`, because that is where sharding engines put the weight together.
    """

    def forward(self, input: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [..., V] of states [..., D]; with labels [N] of states [N, D], the sum of their nats in fp32."""
        if labels is None:
            return F.linear(input, self.weight)
        if torch.is_grad_enabled():
            return _FusedCrossEntropy.apply(input, self.weight, labels)
        zero = torch.zeros((), device=input.device)
        chunks = zip(input.split(_CHUNK), labels.split(_CHUNK), strict=True)
        return sum(
            (F.cross_entropy(F.linear(x, self.weight).float(), y, reduction="sum") for x, y in chunks), start=zero
        )


class _FusedCrossEntropy(torch.autograd.Function):
    """Sum over rows of -log softmax(x @ w.T)[label].

    The gradient of the sum needs nothing from later on, so it is taken chunk by chunk while the logits are at hand:
    memory is one chunk's logits in fp32, and nothing is computed twice.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, w_VD: Tensor, labels_N: Tensor) -> Tensor:
        total = torch.zeros((), device=x_ND.device)
        dx_ND, dw_VD = torch.empty_like(x_ND), torch.zeros_like(w_VD, dtype=torch.float32)
        pieces = zip(x_ND.split(_CHUNK), labels_N.split(_CHUNK), dx_ND.split(_CHUNK), strict=True)
        for x, labels, dx in pieces:
            z = F.linear(x, w_VD).float()
            log_sum = z.logsumexp(1, keepdim=True)
            total += (log_sum - z.gather(1, labels[:, None])).sum()
            z.sub_(log_sum).exp_()
            z.scatter_add_(1, labels[:, None], z.new_full((len(labels), 1), -1.0))
            slope = z.to(x.dtype)
            dx.copy_(slope @ w_VD.to(x.dtype))
            dw_VD += slope.t() @ x
        ctx.save_for_backward(dx_ND, dw_VD.to(w_VD.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        dx_ND, dw_VD = ctx.saved_tensors
        scale = gradients[0]
        return (dx_ND * scale).to(dx_ND.dtype), (dw_VD * scale).to(dw_VD.dtype), None
