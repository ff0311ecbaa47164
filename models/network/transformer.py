"""The Transformer: RMSNorm, rotary positions, grouped-query attention, SwiGLU or squared ReLU; decoder or encoder.

Parameter names and conventions (rotary in two halves, separate projections) are Hugging Face's, so the state dict is
the export: `layouts` says of which class. Shape letters: B rows, T positions, D hidden, H heads, K key/value heads,
E head width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.network.attention import attend
from models.network.documents import Documents
from models.network.loss import Head
from models.network.pointwise import RMSNorm, gated, rotate, side_by_side
from models.network.products import Linear
from models.network.rope import rotary_table
from models.network.settings import ModelSettings

IGNORE = -100
"""The label of a position that is no target."""

_INITIAL_DEVIATION = 0.02

Attend = Callable[[Tensor, Tensor, Tensor, Documents | None, bool, int | None], Tensor]


class Attention(nn.Module):
    """Grouped-query attention with rotary positions.

    Args:
        settings: the network's.
        window: tokens that this layer sees; None: all.
    """

    def __init__(self, settings: ModelSettings, window: int | None) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = settings.heads, settings.kv_heads, settings.head_size
        self.window, self.causal, self.qk_norm = window, settings.architecture == "decoder", settings.qk_norm
        hidden, wide, narrow = settings.hidden_size, self.heads * self.head_size, self.kv_heads * self.head_size
        self.q_proj = Linear(hidden, wide)
        self.k_proj = Linear(hidden, narrow)
        self.v_proj = Linear(hidden, narrow)
        self.o_proj = Linear(wide, hidden)
        if self.qk_norm != "none":
            by_head = self.qk_norm == "head"
            self.q_norm = RMSNorm(self.head_size if by_head else wide, settings.norm_epsilon)
            self.k_norm = RMSNorm(self.head_size if by_head else narrow, settings.norm_epsilon)
        self.attend: Attend = attend

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], documents: Documents | None) -> Tensor:
        """Attend within documents."""
        sizes = [heads * self.head_size for heads in (self.heads, self.kv_heads, self.kv_heads)]
        q, k, v = side_by_side(x_BTD, self.q_proj, self.k_proj, self.v_proj).split(sizes, -1)
        if self.qk_norm == "width":
            q, k = self.q_norm(q), self.k_norm(k)
        q_BTHE, k_BTKE = q.unflatten(-1, (-1, self.head_size)), k.unflatten(-1, (-1, self.head_size))
        if self.qk_norm == "head":
            q_BTHE, k_BTKE = self.q_norm(q_BTHE), self.k_norm(k_BTKE)
        v_BTKE = v.unflatten(-1, (-1, self.head_size))
        y_BTHE = self.attend(
            rotate(q_BTHE, *rotary), rotate(k_BTKE, *rotary), v_BTKE, documents, self.causal, self.window
        )
        return self.o_proj(y_BTHE.flatten(2))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020), or two matrices with a squared ReLU between them (So et al. 2021)."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.gated = settings.activation == "swiglu"
        if self.gated:
            self.gate_proj = Linear(settings.hidden_size, settings.feed_forward_size)
        self.up_proj = Linear(settings.hidden_size, settings.feed_forward_size)
        self.down_proj = Linear(settings.feed_forward_size, settings.hidden_size)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Transform each position by itself."""
        if self.gated:
            return self.down_proj(gated(side_by_side(x_BTD, self.gate_proj, self.up_proj)))
        return self.down_proj(F.relu(self.up_proj(x_BTD)).square())


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream; norms stand before each or after it."""

    def __init__(self, settings: ModelSettings, window: int | None) -> None:
        super().__init__()
        self.norms_before = settings.norms == "before"
        if self.norms_before:
            self.input_layernorm = RMSNorm(settings.hidden_size, settings.norm_epsilon)
        self.self_attn = Attention(settings, window)
        self.post_attention_layernorm = RMSNorm(settings.hidden_size, settings.norm_epsilon)
        self.mlp = FeedForward(settings)
        if not self.norms_before:
            self.post_feedforward_layernorm = RMSNorm(settings.hidden_size, settings.norm_epsilon)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], documents: Documents | None) -> Tensor:
        """One block."""
        if self.norms_before:
            x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), rotary, documents)
            return x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        x_BTD = x_BTD + self.post_attention_layernorm(self.self_attn(x_BTD, rotary, documents))
        return x_BTD + self.post_feedforward_layernorm(self.mlp(x_BTD))


class Body(nn.Module):
    """Embedding, blocks and the last norm: what Hugging Face calls `model`."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        # Without torch's own initial values, for which it imports its compiler on the meta device.
        weight = torch.empty(settings.vocabulary_size, settings.hidden_size)
        self.embed_tokens = nn.Embedding.from_pretrained(weight, freeze=False)
        self.layers = nn.ModuleList(Block(settings, window) for window in settings.windows())
        self.norm = RMSNorm(settings.hidden_size, settings.norm_epsilon)


class FreshWeights:
    """What a network's parameters begin with, from one generator: they are asked for in the network's order.

    Every matrix is normal with deviation 0.02 (GPT-2), and the two matrices of a block that write to the residual
    stream are narrower by sqrt(2 * layers): the stream is a sum of 2 * layers such writes, so its variance at the last
    layer does not grow with depth. Norms' scales are 1.

    Args:
        settings: the network's.
        seed: of the generator; None takes torch's global one.
    """

    def __init__(self, settings: ModelSettings, seed: int | None) -> None:
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._narrow = _INITIAL_DEVIATION / math.sqrt(2 * settings.layers)

    def __call__(self, name: str, weight: Tensor) -> None:
        """Fill the parameter of this name."""
        if weight.ndim != 2:
            weight.fill_(1.0)
            return
        writes = name.endswith(("o_proj.weight", "down_proj.weight"))
        weight.normal_(0.0, self._narrow if writes else _INITIAL_DEVIATION, generator=self._generator)


class Transformer(nn.Module):
    """A decoder or encoder over token ids.

    Args:
        settings: its shape.
        seed: of `FreshWeights`; on the meta device there are no values.
    """

    def __init__(self, settings: ModelSettings, seed: int | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.model = Body(settings)
        self.lm_head = Head(settings.hidden_size, settings.vocabulary_size, settings.logit_softcap)
        if settings.tied_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self._rotary: tuple[Tensor, Tensor] | None = None
        self._checkpoints = False
        if not self.lm_head.weight.is_meta:
            self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int | None) -> None:
        fill = FreshWeights(self.settings, seed)
        for name, weight in self.named_parameters():
            fill(name, weight)

    def checkpoint_activations(self, on: bool) -> None:
        """Keep each block's input only, and compute the rest again going back (Chen et al. 2016)."""
        self._checkpoints = on

    def forward(self, input_ids: Tensor, documents: Documents | Tensor | None = None) -> Tensor:
        """Logits [B, T, V] of token ids [B, T].

        Args:
            input_ids: token ids.
            documents: where each document lies, or their numbers [B, T] (which are read back from the device);
                attention stays within a document and positions restart at each. None: every row is one document.
        """
        return self.lm_head(self.hidden(input_ids, documents))

    def hidden(self, input_ids: Tensor, documents: Documents | Tensor | None = None) -> Tensor:
        """The last layer's normalised states [B, T, D]; the output matrix makes logits of them."""
        if isinstance(documents, Tensor):
            documents = Documents.of(documents)
        length = input_ids.shape[1]
        longest = length if documents is None else max(documents.lengths)
        if longest > self.settings.maximum_positions:
            raise ValueError(
                f"{longest} positions; this network has maximum_positions {self.settings.maximum_positions}"
            )
        x_BTD = self.model.embed_tokens(input_ids)
        cosine, sine = self._rotary_table(x_BTD)
        where: Any = slice(length) if documents is None else documents.positions
        rotary = cosine[where].unsqueeze(-2), sine[where].unsqueeze(-2)
        keeps_all = not (self._checkpoints and torch.is_grad_enabled())
        for block in self.model.layers:
            if keeps_all:
                x_BTD = block(x_BTD, rotary, documents)
            else:
                x_BTD = checkpoint(block, x_BTD, rotary, documents, use_reentrant=False, preserve_rng_state=False)
        return self.model.norm(x_BTD)

    def token_loss(
        self, input_ids: Tensor, labels: Tensor, documents: Documents | Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The summed loss of the targets, in nats, and their number.

        Cross-entropy is computed in fp32, in chunks: a batch's logits are never held.

        Args:
            input_ids: [B, T] token ids.
            labels: [B, T]; logits at t predict labels[t]; -100 is no target.
            documents: as in `forward`.

        Returns:
            (fp32 scalar, int64 scalar). Without any target the sum is 0 and its gradients are 0.
        """
        states = self.hidden(input_ids, documents).flatten(0, 1)
        return self.lm_head(states, labels.flatten()), (labels != IGNORE).sum()

    def _rotary_table(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [positions, E] in the states' precision, made once: they are no part of the state."""
        kept = self._rotary
        if kept is None or kept[0].device != like.device or kept[0].dtype != like.dtype:
            kept = self._rotary = rotary_table(self.settings, like.device, like.dtype)
        return kept
