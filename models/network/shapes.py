"""Named shapes, and one dial that derives a shape from its depth or its number of parameters."""

from __future__ import annotations

import math
from typing import Any

from models.network.settings import ModelSettings

_WIDTH_A_LAYER = 64
_HEAD_SIZE, _WIDE_HEAD_SIZE = 64, 128
_SHARED, _WIDE = 1024, 2048
_SMALLEST, _LARGEST = 128, 16384
_NEAR, _FAR = 0.05, 0.1


def of_depth(depth: int, **other: Any) -> ModelSettings:
    """A shape of so many layers: 64 of width a layer, heads of 64 (of 128 from width 2,048 on); from width 1,024 on,
    four heads share a key and value.

    Inside the feed-forward are 8/3 of the width, or 4 times the width where it has two matrices. Queries and keys are
    normed as the class of transformers does that the other settings call for (`layouts`).

    Args:
        depth: layers.
        other: settings that win over the derived ones; a `hidden_size` among them is what they are derived from.
    """
    hidden = other.get("hidden_size")
    if not isinstance(hidden, int) or hidden < 1:
        hidden = _width(depth)
    head = _WIDE_HEAD_SIZE if hidden >= _WIDE else _HEAD_SIZE
    heads = max(1, hidden // head)
    derived = {
        "layers": depth,
        "hidden_size": hidden,
        "heads": heads,
        "kv_heads": heads // 4 if hidden >= _SHARED and heads % 4 == 0 else heads,
        "head_size": head,
        "feed_forward_size": 4 * hidden if other.get("activation") == "relu2" else -(-8 * hidden // (3 * 64)) * 64,
        "qk_norm": _qk_norm(other),
        "tied_embeddings": hidden < _WIDE,
    }
    if "heads" in other and "kv_heads" not in other:
        derived["kv_heads"] = other["heads"]
    return ModelSettings.model_validate(derived | other)


def _qk_norm(other: dict[str, Any]) -> str:
    if other.get("architecture") == "encoder" or other.get("activation") == "relu2":
        return "none"
    return "width" if other.get("norms") == "after" else "head"


def _width(depth: int) -> int:
    """64 a layer; from 1,024 on the nearest that makes the number of heads a multiple of four."""
    width = max(_SMALLEST, _WIDTH_A_LAYER * depth)
    step = _step(width)
    return round(width / step) * step


def _step(width: int) -> int:
    if width < _SHARED:
        return _HEAD_SIZE
    return 4 * (_HEAD_SIZE if width < _WIDE else _WIDE_HEAD_SIZE)


def of_parameters(parameters: int, **other: Any) -> ModelSettings:
    """A shape as `of_depth` derives it, of so many parameters, embeddings included.

    Depth and width both vary. Of the shapes within 5 % of the size it is the one nearest to 64 of width a layer, or
    else the one nearest in size.

    Args:
        parameters: how many.
        other: settings that win over the derived ones.

    Raises:
        ValueError: none is within 10 %; with the nearest.
    """
    shapes = [_of_width(width, parameters, other) for width in _widths()]

    def miss(shape: ModelSettings) -> float:
        return abs(math.log(shape.parameters() / parameters))

    def slenderness(shape: ModelSettings) -> float:
        return abs(math.log(shape.hidden_size / (_WIDTH_A_LAYER * shape.layers)))

    near = [shape for shape in shapes if miss(shape) < math.log1p(_NEAR)]
    found = min(near, key=slenderness) if near else min(shapes, key=miss)
    if miss(found) > math.log1p(_FAR):
        raise ValueError(
            f"parameters: no shape has about {parameters:,}; the nearest has {found.parameters():,} ({found.layers} "
            f"layers of width {found.hidden_size}, vocabulary_size {found.vocabulary_size:,})"
        )
    return found


def _widths() -> list[int]:
    widths = [_SMALLEST]
    while widths[-1] < _LARGEST:
        widths.append(widths[-1] + _step(widths[-1]))
    return widths


def _of_width(width: int, parameters: int, other: dict[str, Any]) -> ModelSettings:
    """The depth that comes nearest to a number of parameters; each layer adds as many as the next."""
    one, two = (of_depth(depth, **{"hidden_size": width} | other).parameters() for depth in (1, 2))
    depth = 1 + max(0, round((parameters - one) / (two - one))) if two > one else 1
    return of_depth(depth, **{"hidden_size": width} | other)


def _published(hidden: int, layers: int, heads: int, kv_heads: int, feed_forward: int, **other: Any) -> ModelSettings:
    shape = {"hidden_size": hidden, "layers": layers, "heads": heads, "kv_heads": kv_heads}
    return ModelSettings.model_validate(shape | {"feed_forward_size": feed_forward, "tied_embeddings": False} | other)


def _small(vocabulary_size: int) -> ModelSettings:
    """What learns most in ten minutes on two CPU cores (models/README.md has the ablation)."""
    return of_depth(5, hidden_size=192, vocabulary_size=vocabulary_size, tied_embeddings=False)


_LLAMA_2 = {"vocabulary_size": 32000, "maximum_positions": 4096}
_LLAMA_3 = {"vocabulary_size": 128256, "maximum_positions": 8192, "rope_theta": 5e5}
_QWEN_3 = {
    "vocabulary_size": 151936,
    "maximum_positions": 40960,
    "rope_theta": 1e6,
    "norm_epsilon": 1e-6,
    "head_size": 128,
    "qk_norm": "head",
}
_OLMO_2 = {
    "vocabulary_size": 100352,
    "maximum_positions": 4096,
    "rope_theta": 5e5,
    "norm_epsilon": 1e-6,
    "norms": "after",
    "qk_norm": "width",
}

PRESETS: dict[str, ModelSettings] = {
    "tiny": ModelSettings(
        vocabulary_size=256, hidden_size=64, layers=2, heads=4, kv_heads=2, feed_forward_size=128, maximum_positions=512
    ),
    "quickstart": _small(4096),
    "quickstart-encoder": ModelSettings(
        architecture="encoder", hidden_size=128, layers=3, heads=2, kv_heads=2, feed_forward_size=352
    ),
    "2m": of_depth(3),
    "5m": _small(8192),
    "8m": of_depth(5),
    "25m": ModelSettings(
        vocabulary_size=16384, hidden_size=384, layers=10, heads=6, kv_heads=3, feed_forward_size=1024
    ),
    "125m": ModelSettings(
        vocabulary_size=32768, hidden_size=768, layers=14, heads=12, kv_heads=4, feed_forward_size=2048
    ),
    "350m": of_depth(18, hidden_size=1280, vocabulary_size=32768),
    "1b": of_depth(28, vocabulary_size=65536, maximum_positions=4096),
    "3b": of_depth(40, vocabulary_size=65536, maximum_positions=4096),
    "llama-2-7b": _published(4096, 32, 32, 32, 11008, **_LLAMA_2),
    "llama-2-13b": _published(5120, 40, 40, 40, 13824, **_LLAMA_2),
    "llama-2-70b": _published(8192, 80, 64, 8, 28672, **_LLAMA_2),
    "llama-3-8b": _published(4096, 32, 32, 8, 14336, **_LLAMA_3),
    "llama-3-70b": _published(8192, 80, 64, 8, 28672, **_LLAMA_3),
    "qwen3-0.6b": _published(1024, 28, 16, 8, 3072, **_QWEN_3, tied_embeddings=True),
    "qwen3-1.7b": _published(2048, 28, 16, 8, 6144, **_QWEN_3, tied_embeddings=True),
    "qwen3-4b": _published(2560, 36, 32, 8, 9728, **_QWEN_3, tied_embeddings=True),
    "qwen3-8b": _published(4096, 36, 32, 8, 12288, **_QWEN_3),
    "qwen3-14b": _published(5120, 40, 40, 8, 17408, **_QWEN_3),
    "qwen3-32b": _published(5120, 64, 64, 8, 25600, **_QWEN_3),
    "olmo-2-1b": _published(2048, 16, 16, 16, 8192, **_OLMO_2),
    "olmo-2-7b": _published(4096, 32, 32, 32, 11008, **_OLMO_2),
    "olmo-2-13b": _published(5120, 40, 40, 40, 13824, **_OLMO_2),
    "olmo-2-32b": _published(5120, 64, 40, 8, 27648, **_OLMO_2),
}
"""Named shapes. Those with a family's name are published ones (Touvron et al. 2023, Grattafiori et al. 2024, Yang et
al. 2025, OLMo et al. 2025)."""


def expand(value: Any) -> Any:
    """A model's settings with `preset: NAME`, `depth: N` or `parameters: N` replaced by that shape's; keys beside it
    win.

    Raises:
        ValueError: no such preset, or more than one of the three.
    """
    if not isinstance(value, dict):
        return value
    dials = [key for key in ("preset", "depth", "parameters") if key in value]
    if len(dials) > 1:
        raise ValueError(f"{' and '.join(dials)}: expected one of them")
    if not dials:
        return value
    dial, rest = dials[0], {key: each for key, each in value.items() if key != dials[0]}
    chosen = value[dial]
    if dial == "preset":
        if chosen not in PRESETS:
            raise ValueError(f"preset {chosen!r} is not known; there are {', '.join(PRESETS)}")
        shape = PRESETS[chosen].model_dump()
        if {"hidden_size", "heads"} & rest.keys() and "head_size" not in rest:
            del shape["head_size"]
        return shape | rest
    if not isinstance(chosen, int) or isinstance(chosen, bool) or chosen < 1:
        raise ValueError(f"{dial}: expected a whole number from 1 on, found {chosen!r}")
    return (of_depth if dial == "depth" else of_parameters)(chosen, **rest).model_dump()
