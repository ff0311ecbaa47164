"""The shape of a network: its settings, its size, its cost, and named shapes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator


class ModelSettings(BaseModel, extra="forbid", frozen=True):
    """A Transformer's shape. Only what a stock `transformers` class can load is offered.

    A decoder exports as `LlamaForCausalLM`, an encoder (bidirectional attention) as `EuroBertForMaskedLM`.
    """

    architecture: Literal["decoder", "encoder"] = Field(
        default="decoder", description="decoder: attends to the past only; encoder: attends both ways"
    )
    vocabulary_size: int = Field(default=4096, ge=1, description="number of token ids")
    hidden_size: int = Field(default=192, ge=2, description="width of the residual stream")
    layers: int = Field(default=4, ge=1, description="number of blocks")
    heads: int = Field(default=4, ge=1, description="number of query heads; hidden_size / heads is a head's width")
    kv_heads: int = Field(default=2, ge=1, description="number of key and value heads, each shared by heads / kv_heads")
    feed_forward_size: int = Field(default=512, ge=1, description="inner width of the SwiGLU feed-forward")
    maximum_positions: int = Field(default=2048, ge=1, description="longest document in tokens")
    rope_theta: float = Field(default=10000.0, gt=0, description="base of the rotary position frequencies")
    norm_epsilon: float = Field(default=1e-5, gt=0, description="added to the mean square in RMSNorm")
    tied_embeddings: bool = Field(default=True, description="the output matrix is the embedding matrix")

    @model_validator(mode="after")
    def _check(self) -> ModelSettings:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.head_size % 2:
            raise ValueError(f"hidden_size / heads is {self.head_size}; rotary positions need it to be even")
        return self

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    def parameters(self) -> int:
        """Number of trainable parameters; a tied output matrix is counted once."""
        return (1 if self.tied_embeddings else 2) * self.vocabulary_size * self.hidden_size + self._body()

    def flops_per_token(self, sequence_length: int) -> float:
        """Floating-point operations to train on one token: forward and backward.

        6 a matrix weight (output matrix included, embedding look-up not), plus 12 * layers * hidden_size *
        sequence_length for full attention (Kaplan et al. 2020, Chowdhery et al. 2022); a decoder's causal
        attention is counted as half of it, since half of the scores are never used.
        """
        matrices = self._body() - (2 * self.layers + 1) * self.hidden_size + self.vocabulary_size * self.hidden_size
        attention = 12 * self.layers * self.hidden_size * sequence_length
        return 6.0 * matrices + (attention / 2 if self.architecture == "decoder" else attention)

    def _body(self) -> int:
        """Parameters of the blocks and the last norm."""
        attention = 2 * self.hidden_size * self.hidden_size + 2 * self.hidden_size * self.kv_heads * self.head_size
        feed_forward = 3 * self.hidden_size * self.feed_forward_size
        return self.layers * (attention + feed_forward + 2 * self.hidden_size) + self.hidden_size


def _llama(hidden: int, layers: int, heads: int, kv_heads: int, feed_forward: int, **other: float) -> ModelSettings:
    """A published Llama shape; the vocabulary is 32,000 unless told otherwise."""
    sizes = {"vocabulary_size": 32000, "maximum_positions": 4096} | other
    return ModelSettings.model_validate(
        {
            "hidden_size": hidden,
            "layers": layers,
            "heads": heads,
            "kv_heads": kv_heads,
            "feed_forward_size": feed_forward,
            "tied_embeddings": False,
            **sizes,
        }
    )


_LLAMA_3 = {"vocabulary_size": 128256, "maximum_positions": 8192, "rope_theta": 500000.0}

PRESETS: dict[str, ModelSettings] = {
    "tiny": ModelSettings(
        vocabulary_size=256, hidden_size=64, layers=2, heads=4, kv_heads=2, feed_forward_size=128, maximum_positions=512
    ),
    "quickstart": ModelSettings(hidden_size=192, layers=4, heads=3, kv_heads=3, feed_forward_size=512),
    "quickstart-encoder": ModelSettings(
        architecture="encoder", hidden_size=128, layers=3, heads=2, kv_heads=2, feed_forward_size=352
    ),
    "25m": ModelSettings(
        vocabulary_size=16384, hidden_size=384, layers=10, heads=6, kv_heads=3, feed_forward_size=1024
    ),
    "125m": ModelSettings(
        vocabulary_size=32768, hidden_size=768, layers=14, heads=12, kv_heads=4, feed_forward_size=2048
    ),
    "llama-2-7b": _llama(4096, 32, 32, 32, 11008),
    "llama-2-13b": _llama(5120, 40, 40, 40, 13824),
    "llama-2-70b": _llama(8192, 80, 64, 8, 28672),
    "llama-3-8b": _llama(4096, 32, 32, 8, 14336, **_LLAMA_3),
    "llama-3-70b": _llama(8192, 80, 64, 8, 28672, **_LLAMA_3),
}
"""Named shapes; those from 7b up are published ones (Touvron et al. 2023, Grattafiori et al. 2024)."""
