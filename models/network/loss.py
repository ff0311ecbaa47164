"""The output matrix and its cross-entropy in one step, so that a batch's logits are never held."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.products import product

IGNORE = -100
_CHUNK = 1024


class Head(nn.Linear):
    """The output matrix: logits, or with labels their summed cross-entropy.

    Both go through `forward`, because that is where sharding engines put the weight together.

    Args:
        hidden: width of the states.
        vocabulary: number of tokens.
        softcap: logits become softcap * tanh(logits / softcap); None: as they are.
    """

    def __init__(self, hidden: int, vocabulary: int, softcap: float | None) -> None:
        super().__init__(hidden, vocabulary, bias=False)
        self.softcap = softcap

    def forward(self, input: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [..., V] of states [..., D]; with labels [N] of states [N, D], the sum of their nats in fp32.

        -100 is no target.
        """
        if labels is None:
            logits = product(input, self.weight)
            return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)
        if not input.is_cuda:
            # The rows without a target are left out; on a GPU, counting them would have to wait for it.
            where = (labels != IGNORE).nonzero().squeeze(1)
            if len(where) < len(labels):
                input, labels = input.index_select(0, where), labels.index_select(0, where)
        if torch.is_grad_enabled():
            kind = input.device.type
            if torch.is_autocast_enabled(kind):
                input = input.to(torch.get_autocast_dtype(kind))
            with torch.autocast(kind, enabled=False):
                return _FusedCrossEntropy.apply(input, self.weight, labels, self.softcap)
        total = torch.zeros((), device=input.device)
        for x, y in zip(input.split(_CHUNK), labels.split(_CHUNK), strict=True):
            total += F.cross_entropy(self(x).float(), y, reduction="sum", ignore_index=IGNORE)
        return total


class _FusedCrossEntropy(torch.autograd.Function):
    """Sum over rows of -log softmax(softcap(x @ w.T))[label]; rows with the label -100 count nothing.

    The gradient of the sum needs nothing from later on, so it is taken chunk by chunk while the logits are at hand:
    memory is one chunk's logits in fp32, and nothing is computed twice.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, w_VD: Tensor, labels_N: Tensor, softcap: float | None) -> Tensor:
        total = torch.zeros((), device=x_ND.device)
        dx_ND, dw_VD = torch.empty_like(x_ND), torch.zeros_like(w_VD, dtype=torch.float32)
        pieces = zip(x_ND.split(_CHUNK), labels_N.split(_CHUNK), dx_ND.split(_CHUNK), strict=True)
        weight = w_VD.to(x_ND.dtype)
        for x, labels, dx in pieces:
            z = product(x, weight).float()
            if softcap is not None:
                bent = torch.tanh_(z.div_(softcap))
                z = bent * softcap
            target = labels != IGNORE
            at = labels.clamp(min=0)[:, None]
            highest, wanted = z.amax(1, keepdim=True), z.gather(1, at)
            z = torch.softmax(z, 1)
            # The highest probability is at least 1/V, so its logarithm tells the normaliser where a target's may not.
            nats = highest - z.amax(1, keepdim=True).log_() - wanted
            total += (nats.squeeze(1) * target).sum()
            z.scatter_add_(1, at, z.new_full((len(labels), 1), -1.0))
            if softcap is not None:
                z.mul_(bent.square_().neg_().add_(1.0))
            if x.is_cuda:
                z.mul_(target[:, None])
            slope = z.to(x.dtype)
            torch.mm(slope, weight, out=dx)
            if dw_VD.dtype == slope.dtype:
                dw_VD.addmm_(slope.t(), x)
            else:
                dw_VD += slope.t() @ x
        ctx.save_for_backward(dx_ND, dw_VD.to(w_VD.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        dx_ND, dw_VD = ctx.saved_tensors
        scale = gradients[0]
        return (dx_ND * scale).to(dx_ND.dtype), (dw_VD * scale).to(dw_VD.dtype), None, None
