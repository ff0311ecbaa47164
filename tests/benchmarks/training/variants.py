"""What the quality part trains: other programs' networks, and variants of ours.

A variant of ours is a list of factors joined by "+", each a name of FACTORS or `key=value`, where a key is a setting
of `ModelSettings` or `TrainingSettings`, dotted where it is nested. They change BASE, from left to right, so a
size comes before what depends on it:

    base    4m+muon+qk-head+relu2    27m+batch-2048+learning_rate=0.01+rates.embedding=10
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from models.network import ModelSettings
from models.training.settings import TrainingSettings

BASE: dict[str, Any] = {
    "vocabulary_size": 8192,
    "hidden_size": 384,
    "layers": 6,
    "heads": 6,
    "kv_heads": 6,
    "feed_forward_size": 1024,
    "tied_embeddings": True,
    "tokens_per_step": 4096,
    "sequence_length": 512,
    "micro_batch": 8,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.1,
    "schedule": "wsd",
    "warmup_fraction": 0.02,
    "decay_fraction": 0.4,
}
"""The speed part's network, trained with AdamW."""

BEST = "4m+muon+batch-2048+qk-head+untied+embedding-10"
"""The variant that the quality part trains where none is named: what the ablation found best."""


def _size(hidden: int, layers: int, feed_forward: int, head: int = 64) -> dict[str, Any]:
    heads = hidden // head
    sizes = {"hidden_size": hidden, "layers": layers, "feed_forward_size": feed_forward}
    return sizes | {"heads": heads, "kv_heads": heads, "head_size": head}


FACTORS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("nothing changed", {}),
    # Optimizer
    "adamw": ("AdamW for everything", {"optimizer": "adamw", "learning_rate": 2e-3}),
    "muon": ("Muon for the blocks' matrices", {"optimizer": "muon", "learning_rate": 5e-3, "weight_decay": 0.0}),
    "embedding-3": ("embeddings at 3 times the learning rate", {"rates.embedding": 3.0}),
    "embedding-10": ("embeddings at 10 times the learning rate", {"rates.embedding": 10.0}),
    "embedding-30": ("embeddings at 30 times the learning rate", {"rates.embedding": 30.0}),
    "embedding-0.3": ("embeddings at 0.3 of the learning rate", {"rates.embedding": 0.3}),
    "head-0.3": ("an output matrix at 0.3 of the learning rate", {"rates.head": 0.3}),
    "vector-0.3": ("norms' scales at 0.3 of the learning rate", {"rates.vector": 0.3}),
    "decay-0": ("no weight decay", {"weight_decay": 0.0}),
    "decay-0.01": ("weight decay 0.01", {"weight_decay": 0.01}),
    "decay-0.3": ("weight decay 0.3", {"weight_decay": 0.3}),
    "beta2-0.99": ("a slower second moment", {"beta2": 0.99}),
    "beta1-0.8": ("a faster first moment", {"beta1": 0.8}),
    "clip-0": ("no clipping", {"clip": 0.0}),
    # Schedule
    "warmup-0": ("no warm-up", {"warmup_fraction": 0.0}),
    "warmup-0.05": ("warm-up over 5 %", {"warmup_fraction": 0.05}),
    "wsd-0.2": ("decay over the last 20 %", {"schedule": "wsd", "decay_fraction": 0.2}),
    "wsd-0.6": ("decay over the last 60 %", {"schedule": "wsd", "decay_fraction": 0.6}),
    "wsd-0.8": ("decay over the last 80 %", {"schedule": "wsd", "decay_fraction": 0.8}),
    "linear": ("a straight line to 0", {"schedule": "linear"}),
    "cosine": ("half a cosine to 0", {"schedule": "cosine"}),
    # Batch and length
    "batch-512": ("512 tokens a step", {"tokens_per_step": 512, "sequence_length": 512}),
    "batch-1024": ("1,024 tokens a step", {"tokens_per_step": 1024}),
    "batch-2048": ("2,048 tokens a step", {"tokens_per_step": 2048}),
    "batch-8192": ("8,192 tokens a step", {"tokens_per_step": 8192, "micro_batch": 16}),
    "length-128": ("windows of 128 tokens", {"sequence_length": 128, "micro_batch": 64}),
    "length-256": ("windows of 256 tokens", {"sequence_length": 256, "micro_batch": 32}),
    # Network
    "qk-head": ("queries and keys normed by head", {"qk_norm": "head"}),
    "qk-width": ("queries and keys normed at once", {"qk_norm": "width"}),
    "relu2": (
        "squared ReLU, two matrices of the same weight",
        {"activation": "relu2", "feed_forward_size": lambda v: v["feed_forward_size"] * 3 // 2},
    ),
    "norms-after": ("norms on what a sublayer writes, and of queries and keys", {"norms": "after", "qk_norm": "width"}),
    "untied": ("an output matrix of its own", {"tied_embeddings": False}),
    "softcap-15": ("logits capped at 15", {"logit_softcap": 15.0}),
    "softcap-30": ("logits capped at 30", {"logit_softcap": 30.0}),
    "window-128": ("three layers of four see 128 tokens", {"window": 128}),
    "shared-kv": ("three heads share a key and value", {"kv_heads": lambda v: max(1, v["heads"] // 3)}),
    "theta-1000": ("faster rotary positions", {"rope_theta": 1000.0}),
    "2m": ("2 M parameters: 4 layers, 128 wide", _size(128, 4, 352)),
    "4m": ("4 M: 5 layers, 192 wide", _size(192, 5, 512)),
    "8m": ("8 M: 7 layers, 256 wide", _size(256, 7, 704)),
    "14m": ("14 M: 6 layers, 384 wide", _size(384, 6, 1024)),
    "27m": ("27 M: 7 layers, 512 wide", _size(512, 7, 1408)),
    "deep": ("about 14 M, 14 layers, 256 wide", _size(256, 14, 704)),
    "wide": ("about 14 M, 3 layers, 512 wide", _size(512, 3, 1408)),
    "shallow": ("4 layers, 384 wide", _size(384, 4, 1024)),
}
"""Name -> what it is, and the settings that it sets; a function makes its value of those before it."""


@dataclass(frozen=True)
class Plain:
    """Another program's contender: its network, its optimizer's learning rate, its batch in sequences of 512."""

    about: str
    network: str
    optimizer: str
    learning_rate: float
    rows: int = 8


PLAIN: dict[str, Plain] = {
    "A": Plain("Llama, AdamW 2e-3, cosine", "llama", "adamw", 2e-3),
    "A-0.001": Plain("Llama, AdamW 1e-3, cosine", "llama", "adamw", 1e-3),
    "A-0.004": Plain("Llama, AdamW 4e-3, cosine", "llama", "adamw", 4e-3),
    "A-1024": Plain("Llama, AdamW 2e-3, 1,024 tokens a step", "llama", "adamw", 2e-3, 2),
    "N": Plain("nanochat's network, Muon 0.02 and AdamW", "nanochat", "muon", 0.02),
    "N-1024": Plain("nanochat's network, 1,024 tokens a step", "nanochat", "muon", 0.02, 2),
}
"""Name -> a contender that is not ours."""


def overrides(name: str) -> dict[str, Any]:
    """The settings that a variant's factors set, over BASE.

    Raises:
        SystemExit: a factor that is neither a name nor `key=value`.
    """
    values = dict(BASE)
    for factor in name.split("+"):
        if factor in FACTORS:
            for key, value in FACTORS[factor][1].items():
                values[key] = value(values) if callable(value) else value
        elif "=" in factor:
            key, _, value = factor.partition("=")
            values[key] = yaml.safe_load(value)
        else:
            raise SystemExit(f"variant {name!r}: no factor {factor!r}; there are {', '.join(FACTORS)}, or key=value")
    return values


def resolve(name: str, tokens: int, threads: int) -> tuple[ModelSettings, TrainingSettings]:
    """A variant of ours with a budget of tokens."""
    model: dict[str, Any] = {}
    training: dict[str, Any] = {"tokens": tokens, "threads": threads, "engine": "torch", "device": "cpu"}
    training |= {"log_every_steps": 10, "resume": False}
    for key, value in overrides(name).items():
        top, *rest = key.split(".")
        if top not in ModelSettings.model_fields and top not in TrainingSettings.model_fields:
            raise SystemExit(f"variant {name!r}: there is no setting {top!r}")
        at = model if top in ModelSettings.model_fields else training
        for part in [top, *rest][:-1]:
            at = at.setdefault(part, {})
        at[[top, *rest][-1]] = value
    model["maximum_positions"] = max(2048, training["sequence_length"])
    return ModelSettings.model_validate(model), TrainingSettings.model_validate(training)


def described(name: str) -> dict[str, Any]:
    """All that a contender's result depends on, but for data and budget."""
    if name in PLAIN:
        return {"program": "plain", **vars(PLAIN[name])}
    model, training = resolve(name, 1_000_000, 1)
    left_out = {"tokens", "threads", "log_every_steps", "device", "workers", "resume"}
    return {"program": "ours", "model": model.model_dump(), "training": training.model_dump(exclude=left_out)}


def about(name: str) -> str:
    """What a contender is, in words."""
    if name in PLAIN:
        return PLAIN[name].about
    return ", ".join(FACTORS[factor][0] if factor in FACTORS else factor for factor in name.split("+"))
