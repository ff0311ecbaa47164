"""Attention by blocks of queries with kept probabilities, as batched matrix products: for training on CPUs.

The FlashAttention of torch's CPU kernels computes probabilities twice and its products are small ones. A document of
some hundred tokens has few enough probabilities to keep, and batched products over the heads run faster: three quarters
of the time, forward and backward, for memory that grows with the square of the document's length.
Shape letters: B rows, T positions, H heads, K key/value heads, E head width; Q queries of a block times H / K.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SHORTEST, LONGEST = 256, 1024
"""Tokens of the documents that this is used for: a head's probabilities are half a megabyte at 512, 2 MB at 1,024."""

_BLOCK = 128


def fits(q_BTHE: Tensor) -> bool:
    """Whether `attend_by_blocks` is the faster way for these queries."""
    here = q_BTHE.device.type == "cpu" and q_BTHE.dtype == torch.float32
    return here and SHORTEST <= q_BTHE.shape[1] <= LONGEST and not torch.compiler.is_compiling()


def attend_by_blocks(q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor, causal: bool) -> Tensor:
    """softmax(q k' / sqrt(E)) v of every row, [B, T, H, E].

    Args:
        q_BTHE: queries.
        k_BTKE: keys, each shared by H / K heads.
        v_BTKE: values.
        causal: queries see the past and themselves only.
    """
    out: Tensor = _Blocked.apply(q_BTHE, k_BTKE, v_BTKE, causal)
    return out


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor, causal: bool) -> Tensor:
        _, length, heads, width = q_BTHE.shape
        future, scale = _future(length, heads // k_BTKE.shape[2]), 1 / math.sqrt(width)
        out = torch.empty_like(q_BTHE, memory_format=torch.contiguous_format)
        kept = []
        for q_THE, k_KTE, v_KTE, out_THE in zip(q_BTHE, _by_head(k_BTKE), _by_head(v_BTKE), out, strict=True):
            for here, seen in _blocks(len(q_THE), causal):
                q_KQE = _grouped(q_THE[here], len(k_KTE))
                scores = _product(q_KQE, k_KTE[:, seen].transpose(1, 2), scale)
                if causal:
                    scores[..., here].add_(future[: scores.shape[1], : here.stop - here.start])
                p = torch.softmax(scores, -1)
                kept.append(p)
                _ungroup(torch.bmm(p, v_KTE[:, seen]), out_THE[here])
        ctx.save_for_backward(q_BTHE, k_BTKE, v_BTKE, *kept)
        ctx.causal = causal
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (dy_BTHE,) = gradients
        q_BTHE, k_BTKE, v_BTKE, *kept = ctx.saved_tensors
        scale = 1 / math.sqrt(q_BTHE.shape[-1])
        dq, dk_BTKE, dv_BTKE = (torch.empty(x.shape) for x in (q_BTHE, k_BTKE, v_BTKE))
        rows = list(zip(q_BTHE, dy_BTHE, dq, *map(_by_head, (k_BTKE, v_BTKE, dk_BTKE, dv_BTKE)), strict=True))
        for q_THE, dy_THE, dq_THE, k_KTE, v_KTE, dk_KTE, dv_KTE in reversed(rows):
            sums = None
            # The last block sees every key: the sums begin with it.
            for here, seen in reversed(_blocks(len(q_THE), ctx.causal)):
                p = kept.pop()
                q_KQE, dy_KQE = (_grouped(x[here], len(k_KTE)) for x in (q_THE, dy_THE))
                dp = torch.bmm(dy_KQE, v_KTE[:, seen].transpose(1, 2))
                ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
                _ungroup(_product(ds, k_KTE[:, seen], scale), dq_THE[here])
                part = _product(ds.transpose(1, 2), q_KQE, scale), torch.bmm(p.transpose(1, 2), dy_KQE)
                if sums is None:
                    sums = part
                else:
                    for total, more in zip(sums, part, strict=True):
                        total[:, seen].add_(more)
            assert sums is not None
            dk_KTE.copy_(sums[0])
            dv_KTE.copy_(sums[1])
        return dq, dk_BTKE, dv_BTKE, None


def _blocks(length: int, causal: bool) -> list[tuple[slice, slice]]:
    """Of each block the queries, and the keys that they may see."""
    starts = range(0, length, _BLOCK)
    ends = (min(start + _BLOCK, length) for start in starts)
    return [(slice(start, end), slice(0, end if causal else length)) for start, end in zip(starts, ends, strict=True)]


def _future(length: int, shared: int) -> Tensor:
    """[Q, positions of a block]: what to add to a block's scores against its own keys."""
    size = min(length, _BLOCK)
    return torch.full((size, size), -math.inf).triu_(1).repeat_interleave(shared, 0)


def _product(x_KQN: Tensor, y_KNM: Tensor, scale: float) -> Tensor:
    """scale * x @ y."""
    out = x_KQN.new_empty(len(x_KQN), x_KQN.shape[1], y_KNM.shape[2])
    return torch.baddbmm(out, x_KQN, y_KNM, beta=0, alpha=scale, out=out)


def _by_head(x_BTKE: Tensor) -> Tensor:
    return x_BTKE.transpose(1, 2)


def _grouped(x_QHE: Tensor, kv_heads: int) -> Tensor:
    """[K, Q, E]: the queries that share a key and value together, by position."""
    return x_QHE.unflatten(1, (kv_heads, -1)).transpose(0, 1).flatten(1, 2)


def _ungroup(x_KQE: Tensor, into_QHE: Tensor) -> None:
    kv_heads, _, width = x_KQE.shape
    x_QKGE = x_KQE.view(kv_heads, len(into_QHE), -1, width).transpose(0, 1)
    into_QHE.view(x_QKGE.shape).copy_(x_QKGE)
