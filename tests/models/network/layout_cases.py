"""Tiny networks of every layout, with weights that are far from their initial ones."""

from typing import Any

import torch

from models.network.settings import ModelSettings, RopeScaling
from models.network.transformer import Transformer

VOCABULARY = 97
POSITIONS = 256
WINDOW = 13

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "llama-wide-heads": ("LlamaForCausalLM", {"head_size": 16}),
    "qwen3": ("Qwen3ForCausalLM", {"qk_norm": "head", "head_size": 16}),
    "qwen3-windows": ("Qwen3ForCausalLM", {"qk_norm": "head", "window": WINDOW, "full_attention_every": 2}),
    "olmo2": ("Olmo2ForCausalLM", {"norms": "after", "qk_norm": "width"}),
    "olmo3": (
        "Olmo3ForCausalLM",
        {"norms": "after", "qk_norm": "width", "window": WINDOW, "full_attention_every": 2},
    ),
    "arcee": ("ArceeForCausalLM", {"activation": "relu2"}),
    "eurobert": ("EuroBertForMaskedLM", {"architecture": "encoder"}),
}
"""Name -> (class of transformers, settings)."""

ROPES: dict[str, RopeScaling | None] = {
    "plain": None,
    "linear": RopeScaling(type="linear", factor=4.0, original_positions=64),
    "ntk": RopeScaling(type="ntk", factor=4.0, original_positions=64),
    "llama3": RopeScaling(type="llama3", factor=4.0, original_positions=64),
    "yarn": RopeScaling(type="yarn", factor=4.0, original_positions=64),
    "yarn-tuned": RopeScaling(
        type="yarn", factor=4.0, original_positions=64, attention_factor=1.3, beta_fast=8.0, beta_slow=2.0
    ),
}


def shape(variant: str = "llama", rope: str = "plain", kv_heads: int = 2, tied: bool = True) -> ModelSettings:
    settings = {
        "vocabulary_size": VOCABULARY,
        "hidden_size": 48,
        "layers": 3,
        "heads": 4,
        "kv_heads": kv_heads,
        "feed_forward_size": 80,
        "maximum_positions": POSITIONS,
        "rope_theta": 777.0,
        "rope_scaling": ROPES[rope],
        "tied_embeddings": tied,
    }
    return ModelSettings.model_validate(settings | VARIANTS[variant][1])


def network(settings: ModelSettings) -> Transformer:
    model = Transformer(settings, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(5)
            else:
                weight.copy_(0.5 + torch.rand(weight.shape, generator=generator))
    return model


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
