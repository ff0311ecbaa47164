"""The Transformer: RMSNorm, rotary positions, grouped-query attention, SwiGLU; decoder or encoder.

Parameter names and conventions (rotary in two halves, separate projections) are those of Hugging Face's Llama and
EuroBERT, so the state dict is the export. Shape letters: B rows, T positions, D hidden, H heads, K key/value heads,
E head width, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.loss import Head
from models.network.settings import ModelSettings

IGNORE = -100
"""The label of a position that is no target."""

_INITIAL_DEVIATION = 0.02


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang & Sennrich 2019), computed in fp32 and scaled by a learned vector."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise the last axis."""
        x = x_BTD.float()
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon)
        return self.weight * (x * scale).to(x_BTD.dtype)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = settings.heads, settings.kv_heads, settings.head_size
        hidden, narrow = settings.hidden_size, settings.kv_heads * settings.head_size
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, narrow, bias=False)
        self.v_proj = nn.Linear(hidden, narrow, bias=False)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], mask_B1TT: Tensor | None, causal: bool) -> Tensor:
        """Attend; `mask_B1TT` is true where a query may see a key, None for no mask or (causal) the past."""
        B, T, _ = x_BTD.shape
        q_BHTE = self.q_proj(x_BTD).view(B, T, self.heads, self.head_size).transpose(1, 2)
        k_BKTE = self.k_proj(x_BTD).view(B, T, self.kv_heads, self.head_size).transpose(1, 2)
        v_BKTE = self.v_proj(x_BTD).view(B, T, self.kv_heads, self.head_size).transpose(1, 2)
        y_BHTE = F.scaled_dot_product_attention(
            rotate(q_BHTE, *rotary),
            rotate(k_BKTE, *rotary),
            v_BKTE,
            attn_mask=mask_B1TT,
            is_causal=causal and mask_B1TT is None,
            enable_gqa=self.kv_heads != self.heads,
        )
        return self.o_proj(y_BHTE.transpose(1, 2).reshape(B, T, -1))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(settings.hidden_size, settings.feed_forward_size, bias=False)
        self.up_proj = nn.Linear(settings.hidden_size, settings.feed_forward_size, bias=False)
        self.down_proj = nn.Linear(settings.feed_forward_size, settings.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Transform each position by itself."""
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))


class Block(nn.Module):
    """Attention, then feed-forward, each normalised before and added to the residual stream."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(settings.hidden_size, settings.norm_epsilon)
        self.self_attn = Attention(settings)
        self.post_attention_layernorm = RMSNorm(settings.hidden_size, settings.norm_epsilon)
        self.mlp = FeedForward(settings)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], mask_B1TT: Tensor | None, causal: bool) -> Tensor:
        """One block."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), rotary, mask_B1TT, causal)
        return x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))


class Body(nn.Module):
    """Embedding, blocks and the last norm: what Hugging Face calls `model`."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(settings.vocabulary_size, settings.hidden_size)
        self.layers = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = RMSNorm(settings.hidden_size, settings.norm_epsilon)


class Transformer(nn.Module):
    """A decoder or encoder over token ids.

    Args:
        settings: its shape.
        seed: of the initial weights; None takes torch's global generator. Either way every matrix is normal with
            deviation 0.02 (GPT-2), and the two matrices of a block that write to the residual stream are narrower
            by sqrt(2 * layers): the stream is a sum of 2 * layers such writes, so its variance at the last layer
            does not grow with depth.
    """

    def __init__(self, settings: ModelSettings, seed: int | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.model = Body(settings)
        self.lm_head = Head(settings.hidden_size, settings.vocabulary_size, bias=False)
        if settings.tied_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self._rotary: tuple[Tensor, Tensor] | None = None
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int | None) -> None:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        narrow = _INITIAL_DEVIATION / math.sqrt(2 * self.settings.layers)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                weight.normal_(0.0, narrow if writes else _INITIAL_DEVIATION, generator=generator)

    def forward(self, input_ids: Tensor, documents: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] of token ids [B, T].

        Args:
            input_ids: token ids.
            documents: [B, T] the document each position belongs to, each document's positions contiguous; attention
                stays within a document and positions restart at each. None: every row is one document.
        """
        return self.lm_head(self.hidden(input_ids, documents))

    def hidden(self, input_ids: Tensor, documents: Tensor | None = None) -> Tensor:
        """The last layer's normalised states [B, T, D]; the output matrix makes logits of them."""
        if input_ids.shape[1] > self.settings.maximum_positions:
            raise ValueError(
                f"{input_ids.shape[1]} positions; this network has maximum_positions {self.settings.maximum_positions}"
            )
        causal = self.settings.architecture == "decoder"
        x_BTD = self.model.embed_tokens(input_ids)
        rotary, mask_B1TT = self._positions(input_ids.shape[1], documents, causal, x_BTD)
        for block in self.model.layers:
            x_BTD = block(x_BTD, rotary, mask_B1TT, causal)
        return self.model.norm(x_BTD)

    def token_loss(self, input_ids: Tensor, labels: Tensor, documents: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The summed loss of the targets, in nats, and their number.

        Cross-entropy is computed in fp32, only where there is a target, in chunks: a batch's logits are never held.

        Args:
            input_ids: [B, T] token ids.
            labels: [B, T]; logits at t predict labels[t]; -100 is no target.
            documents: as in `forward`.

        Returns:
            (fp32 scalar, int64 scalar). Without any target the sum is 0 and its gradients are 0.
        """
        states = self.hidden(input_ids, documents).flatten(0, 1)
        flat = labels.flatten()
        where = (flat != IGNORE).nonzero().squeeze(1)
        if len(where) < len(flat):
            states, flat = states.index_select(0, where), flat.index_select(0, where)
        count = torch.tensor(len(where), device=labels.device)
        return self.lm_head(states, flat), count

    def _positions(
        self, length: int, documents: Tensor | None, causal: bool, like: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
        """Rotary tables, and the attention mask where one is needed."""
        cosine, sine = self._rotary_table(like)
        if documents is None or bool((documents == documents[:, :1]).all()):
            return (cosine[:length], sine[:length]), None
        positions = document_positions(documents)
        mask_B1TT = documents[:, None, :, None] == documents[:, None, None, :]
        if causal:
            mask_B1TT = mask_B1TT & torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
        return (cosine[positions].unsqueeze(1), sine[positions].unsqueeze(1)), mask_B1TT

    def _rotary_table(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [positions, E] in the states' precision, made once: they are no part of the state."""
        kept = self._rotary
        if kept is None or kept[0].device != like.device or kept[0].dtype != like.dtype:
            kept = self._rotary = rotary_table(self.settings, like.device, like.dtype)
        return kept


def rotary_table(settings: ModelSettings, device: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and (signed) sines [maximum_positions, E] of the rotary positions (Su et al. 2021), from fp32 angles.

    The first half of the sines is negated, so that `rotate` needs no negation.
    """
    even = torch.arange(0, settings.head_size, 2, dtype=torch.float32, device=device)
    frequencies = 1.0 / settings.rope_theta ** (even / settings.head_size)
    positions = torch.arange(settings.maximum_positions, dtype=torch.float32, device=device)
    angles = torch.outer(positions, frequencies)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat((cosine, cosine), -1).to(dtype), torch.cat((-sine, sine), -1).to(dtype)


def rotate(x_BHTE: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each pair (e, e + E/2) by its position's angle."""
    return x_BHTE * cosine + x_BHTE.roll(x_BHTE.shape[-1] // 2, -1) * sine


def document_positions(documents: Tensor) -> Tensor:
    """Positions [B, T] that start at 0 wherever the document number changes."""
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    starts = torch.zeros_like(index)
    changed = documents[:, 1:] != documents[:, :-1]
    starts[:, 1:] = index[:, 1:] * changed
    return index - starts.cummax(1).values
