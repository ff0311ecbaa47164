"""Attention within documents: dense kernels where a row is one document, others where it holds several.

On GPUs in half precision rows with several documents, and layers with a window, go to torch's variable-length
FlashAttention. Elsewhere each document is attended to by itself, so that the work is that of the documents and no mask
is held, and windows by blocks of keys; `blocked` is a faster way for CPUs. Shape letters: B rows, T positions, H heads,
K key/value heads, E head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.network import blocked
from models.network.documents import Documents


def attend(
    q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor, documents: Documents | None, causal: bool, window: int | None
) -> Tensor:
    """Values [B, T, H, E] that each query gets.

    Args:
        q_BTHE: queries.
        k_BTKE: keys, each shared by H / K heads.
        v_BTKE: values.
        documents: attention stays within each; None: every row is one.
        causal: queries see the past and themselves only.
        window: with `causal`, only so many of the newest tokens.
    """
    B, T, _, _ = q_BTHE.shape
    if window is not None and window >= T:
        window = None
    if documents is None and window is None:
        return _dense(q_BTHE, k_BTKE, v_BTKE, causal)
    if q_BTHE.is_cuda and q_BTHE.dtype in (torch.float16, torch.bfloat16):
        return _variable(q_BTHE, k_BTKE, v_BTKE, documents, causal, window)
    lengths = (T,) * B if documents is None else documents.lengths
    if len(lengths) > B * T // 32:
        return _masked(q_BTHE, k_BTKE, v_BTKE, documents, causal, window)
    queries, keys, values = (x.flatten(0, 1).split(lengths) for x in (q_BTHE, k_BTKE, v_BTKE))
    parts = []
    for q, k, v in zip(queries, keys, values, strict=True):
        if window is None or window >= len(q):
            parts.append(_dense(q[None], k[None], v[None], causal)[0])
        else:
            parts.append(_by_blocks(q, k, v, window))
    return torch.cat(parts).view_as(q_BTHE)


def _dense(q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor, causal: bool, mask: Tensor | None = None) -> Tensor:
    if mask is None and blocked.fits(q_BTHE):
        return blocked.attend_by_blocks(q_BTHE, k_BTKE, v_BTKE, causal)
    grouped = q_BTHE.shape[2] != k_BTKE.shape[2]
    out = F.scaled_dot_product_attention(
        q_BTHE.transpose(1, 2),
        k_BTKE.transpose(1, 2),
        v_BTKE.transpose(1, 2),
        attn_mask=mask,
        is_causal=causal and mask is None,
        enable_gqa=grouped,
    )
    return out.transpose(1, 2)


def _variable(
    q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor, documents: Documents | None, causal: bool, window: int | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    B, T, H, _ = q_BTHE.shape
    if documents is None:
        bounds = torch.arange(0, (B + 1) * T, T, dtype=torch.int32, device=q_BTHE.device)
    else:
        bounds = documents.bounds
    behind = -1 if window is None else window - 1
    # The longest document is at most a row; the exact figure would be another shape to compile for.
    out = varlen_attn(
        q_BTHE.flatten(0, 1),
        k_BTKE.flatten(0, 1),
        v_BTKE.flatten(0, 1),
        bounds,
        bounds,
        T,
        T,
        window_size=(behind, 0) if causal else (-1, -1),
        enable_gqa=k_BTKE.shape[2] != H,
    )
    assert isinstance(out, Tensor)
    return out.view_as(q_BTHE)


def _masked(
    q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor, documents: Documents | None, causal: bool, window: int | None
) -> Tensor:
    """With a mask of [B, 1, T, T]: the better way for very short documents."""
    T = q_BTHE.shape[1]
    index = torch.arange(T, device=q_BTHE.device)
    ahead = index[None, :] - index[:, None]
    mask = ahead <= 0 if causal else torch.ones_like(ahead, dtype=torch.bool)
    if window is not None:
        mask = mask & (ahead > -window)
    if documents is None:
        return _dense(q_BTHE, k_BTKE, v_BTKE, causal, mask)
    numbers = documents.numbers
    return _dense(q_BTHE, k_BTKE, v_BTKE, causal, mask & (numbers[:, None, :, None] == numbers[:, None, None, :]))


def _by_blocks(q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, window: int) -> Tensor:
    """One document's causal attention to the newest `window` tokens: blocks of queries, each against two of keys."""
    T = len(q_THE)
    blocks = -(-T // window)
    room = (0, 0, 0, 0, 0, blocks * window - T)
    q, k, v = (F.pad(x, room).unflatten(0, (blocks, window)) for x in (q_THE, k_TKE, v_TKE))
    k, v = (torch.cat((F.pad(x[:-1], (0, 0, 0, 0, 0, 0, 1, 0)), x), 1) for x in (k, v))
    index = torch.arange(window, device=q.device)
    ahead = torch.cat((index - window, index))[None, :] - index[:, None]
    mask = ((ahead <= 0) & (ahead > -window)).expand(blocks, 1, window, 2 * window).clone()
    mask[0, :, :, :window] = False
    return _dense(q, k, v, True, mask).flatten(0, 1)[:T]
