"""The shape of a network: its settings, its size and its cost. Named shapes and the dial are in `shapes`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator


class RopeScaling(BaseModel, extra="forbid", frozen=True):
    """How rotary positions reach further than a network was trained for. `rope.frequencies` has the formulas."""

    type: Literal["linear", "ntk", "llama3", "yarn"] = Field(
        description="linear: positions are divided by factor (Chen et al. 2023); ntk: the base grows with factor; "
        "llama3: only slow frequencies are divided (Grattafiori et al. 2024); yarn: by frequency, and attention is "
        "sharpened (Peng et al. 2023)"
    )
    factor: float = Field(gt=1, description="how much further: new positions / original_positions")
    original_positions: int = Field(ge=1, description="what the network was trained for")
    low_frequency_factor: float = Field(default=1.0, gt=0, description="llama3: waves longer than original / this")
    high_frequency_factor: float = Field(default=4.0, gt=0, description="llama3: waves shorter than original / this")
    beta_fast: float = Field(default=32.0, gt=0, description="yarn: more turns than this in original stay as they are")
    beta_slow: float = Field(default=1.0, gt=0, description="yarn: fewer turns than this are divided by factor")
    attention_factor: float | None = Field(
        default=None, gt=0, description="yarn: on cosines and sines; none: 0.1 ln(factor) + 1"
    )

    @model_validator(mode="after")
    def _check(self) -> RopeScaling:
        if self.high_frequency_factor <= self.low_frequency_factor:
            raise ValueError(
                f"high_frequency_factor {self.high_frequency_factor} is not above low_frequency_factor "
                f"{self.low_frequency_factor}"
            )
        return self


class ModelSettings(BaseModel, extra="forbid", frozen=True):
    """A Transformer's shape.

    `layouts.layout_of` names the class of `transformers` that loads it: Llama, Qwen3, OLMo2, OLMo3, Arcee, EuroBERT.
    """

    architecture: Literal["decoder", "encoder"] = Field(
        default="decoder", description="decoder: attends to the past only; encoder: attends both ways"
    )
    vocabulary_size: int = Field(default=4096, ge=1, description="number of token ids")
    hidden_size: int = Field(default=192, ge=2, description="width of the residual stream")
    layers: int = Field(default=4, ge=1, description="number of blocks")
    heads: int = Field(default=4, ge=1, description="number of query heads")
    kv_heads: int = Field(default=2, ge=1, description="number of key and value heads, each shared by heads / kv_heads")
    head_size: int = Field(default=0, ge=0, description="width of a head; 0: hidden_size / heads")
    feed_forward_size: int = Field(default=512, ge=1, description="inner width of the feed-forward")
    activation: Literal["swiglu", "relu2"] = Field(
        default="swiglu", description="swiglu: gated (Shazeer 2020); relu2: squared ReLU, two matrices (So et al. 2021)"
    )
    norms: Literal["before", "after"] = Field(
        default="before", description="RMSNorm on what a sublayer reads, or (OLMo2) on what it writes"
    )
    qk_norm: Literal["none", "head", "width"] = Field(
        default="none", description="RMSNorm of queries and keys: of each head (Qwen3), or of all at once (OLMo2)"
    )
    window: int | None = Field(default=None, ge=1, description="tokens that layers with a window see, itself included")
    full_attention_every: int = Field(
        default=4, ge=1, description="with a window: every so many-th layer, and the last, sees everything"
    )
    logit_softcap: float | None = Field(
        default=None, gt=0, description="logits become cap * tanh(logits / cap) (Gemma 2)"
    )
    maximum_positions: int = Field(default=2048, ge=1, description="longest document in tokens")
    rope_theta: float = Field(default=10000.0, gt=0, description="base of the rotary position frequencies")
    rope_scaling: RopeScaling | None = Field(default=None, description="none: positions as they are")
    norm_epsilon: float = Field(default=1e-5, gt=0, description="added to the mean square in RMSNorm")
    tied_embeddings: bool = Field(default=True, description="the output matrix is the embedding matrix")

    @model_validator(mode="before")
    @classmethod
    def _head_size(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("head_size"):
            hidden = values.get("hidden_size", cls.model_fields["hidden_size"].default)
            heads = values.get("heads", cls.model_fields["heads"].default)
            if isinstance(hidden, int) and isinstance(heads, int) and heads > 0:
                if hidden % heads:
                    raise ValueError(f"hidden_size {hidden} is not a multiple of heads {heads}; or set head_size")
                return values | {"head_size": hidden // heads}
        return values

    @model_validator(mode="after")
    def _check(self) -> ModelSettings:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.head_size % 2:
            raise ValueError(f"head_size is {self.head_size}; rotary positions need it to be even")
        if self.architecture == "encoder" and self.window is not None:
            raise ValueError("window: an encoder sees everything; leave it out")
        return self

    def windows(self) -> list[int | None]:
        """What each layer sees: so many tokens, or None for everything."""
        every, last = self.full_attention_every, self.layers - 1
        return [None if (layer + 1) % every == 0 or layer == last else self.window for layer in range(self.layers)]

    @property
    def rotary_base(self) -> float:
        """Of the frequencies: rope_theta, or with ntk what divides the slowest alone by the factor (bloc97 2023)."""
        scaling, size = self.rope_scaling, self.head_size
        if scaling is None or scaling.type != "ntk":
            return self.rope_theta
        return float(self.rope_theta * scaling.factor ** (size / max(1, size - 2)))

    def parameters(self) -> int:
        """Number of trainable parameters; a tied output matrix is counted once."""
        norms = (2 * self.layers + 1) * self.hidden_size
        if self.qk_norm == "head":
            norms += 2 * self.layers * self.head_size
        elif self.qk_norm == "width":
            norms += self.layers * (self.heads + self.kv_heads) * self.head_size
        embeddings = (1 if self.tied_embeddings else 2) * self.vocabulary_size * self.hidden_size
        return embeddings + self._matrices() + norms

    def flops_per_token(self, sequence_length: int) -> float:
        """Floating-point operations to train on one token: forward and backward.

        6 a matrix weight (output matrix included, embedding look-up not), plus 12 * heads * head_size * tokens seen
        a layer for attention (Kaplan et al. 2020, Chowdhery et al. 2022). A decoder's full attention counts as half
        of sequence_length, since half of the scores are never used; a layer with a window counts what it sees on
        average.
        """
        wide = 12.0 * self.heads * self.head_size
        attention = sum(wide * self._seen(window, sequence_length) for window in self.windows())
        return 6.0 * (self._matrices() + self.vocabulary_size * self.hidden_size) + attention

    def _seen(self, window: int | None, length: int) -> float:
        """Keys that a query sees on average."""
        if window is None or window >= length:
            return length / 2 if self.architecture == "decoder" else float(length)
        return window - window * (window - 1) / (2 * length) if self.architecture == "decoder" else float(window)

    def _matrices(self) -> int:
        """Weights of the blocks' matrices."""
        attention = 2 * self.hidden_size * self.head_size * (self.heads + self.kv_heads)
        matrices = 3 if self.activation == "swiglu" else 2
        return self.layers * (attention + matrices * self.hidden_size * self.feed_forward_size)
