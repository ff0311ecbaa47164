"""A network's shape and config.json, both ways."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError

from models.network.directory import reading
from models.network.layouts import LAYOUTS, Layout, layout_of
from models.network.settings import ModelSettings

_ACTIVATIONS = {"swiglu": "silu", "relu2": "relu2"}
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_SPECIAL = ("bos", "eos", "pad", "mask")
_NEEDED = (*_SIZES, "max_position_embeddings", "rms_norm_eps")


def hugging_face_config(settings: ModelSettings, special_ids: Mapping[str, int | None]) -> dict[str, Any]:
    """What config.json says, but for the weights' type.

    Rotary positions stand twice: as transformers 5 reads them, and as 4 and other programs do.

    Args:
        settings: the shape.
        special_ids: ids under `bos`, `eos`, `pad` and `mask`.

    Raises:
        ValueError: as `layout_of`.
    """
    layout = layout_of(settings)
    config: dict[str, Any] = {
        "architectures": [layout.class_name],
        "model_type": layout.model_type,
        "vocab_size": settings.vocabulary_size,
        "hidden_size": settings.hidden_size,
        "intermediate_size": settings.feed_forward_size,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "num_key_value_heads": settings.kv_heads,
        "head_dim": settings.head_size,
        "hidden_act": _ACTIVATIONS[settings.activation],
        "max_position_embeddings": settings.maximum_positions,
        "initializer_range": 0.02,
        "rms_norm_eps": settings.norm_epsilon,
        "tie_word_embeddings": settings.tied_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": special_ids.get("bos"),
        "eos_token_id": special_ids.get("eos"),
        "pad_token_id": special_ids.get("pad"),
    }
    if layout.mlp_bias:
        config["mlp_bias"] = False
    if settings.architecture == "encoder":
        config["mask_token_id"] = special_ids.get("mask")
    if layout.windows:
        config |= _layer_types(settings, layout)
    return config | _rope_keys(settings, layout)


def _layer_types(settings: ModelSettings, layout: Layout) -> dict[str, Any]:
    windows = settings.windows()
    types = ["full_attention" if window is None else "sliding_attention" for window in windows]
    keys: dict[str, Any] = {"layer_types": types, "sliding_window": settings.window}
    if layout.model_type == "qwen3":
        keys |= {"use_sliding_window": any(windows), "max_window_layers": settings.layers}
    return keys


def _rope_keys(settings: ModelSettings, layout: Layout) -> dict[str, Any]:
    scaling, theta = settings.rope_scaling, settings.rotary_base
    scaled: dict[str, Any] | None = None
    if scaling is not None and scaling.type != "ntk":
        scaled = {"rope_type": scaling.type, "factor": scaling.factor}
        if scaling.type == "llama3":
            scaled["low_freq_factor"] = scaling.low_frequency_factor
            scaled["high_freq_factor"] = scaling.high_frequency_factor
        if scaling.type == "yarn":
            scaled |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
            if scaling.attention_factor is not None:
                scaled["attention_factor"] = scaling.attention_factor
        if scaling.type != "linear":
            scaled["original_max_position_embeddings"] = scaling.original_positions
    parameters = (scaled or {"rope_type": "default"}) | {"rope_theta": theta}
    if layout.model_type == "olmo3":
        parameters = {"full_attention": parameters, "sliding_attention": parameters}
    return {"rope_parameters": parameters, "rope_theta": theta, "rope_scaling": scaled}


def read_config(written: Mapping[str, Any], path: str) -> ModelSettings:
    """The shape that a config.json describes, older spellings and left-out keys included.

    What `hugging_face_config` wrote is read back without transformers' classes, which take seconds to import.

    Args:
        written: its content.
        path: where it stands, for errors.

    Raises:
        ValueError: another model, or a feature that this network has not, named with the file and key.
    """
    layouts = {layout.model_type: layout for layout in LAYOUTS}
    layout = layouts.get(written.get("model_type", ""))
    if layout is None:
        raise ValueError(f"{path}: model_type is {written.get('model_type')!r}; can be {', '.join(layouts)}")
    for key in _NEEDED:
        if written.get(key) is None:
            raise ValueError(f"{path}: {key} is missing")
    if (ours := _read_own(written, layout, path)) is not None:
        return ours
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        config = CONFIG_MAPPING[layout.model_type].from_dict(dict(written))
    except Exception as error:  # transformers' checks raise what they like
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    return _read(config, layout, path)


def import_settings(directory: str) -> ModelSettings:
    """The shape of a directory that a class of `layouts.LAYOUTS` loads; errors as in `read_config`.

    Args:
        directory: a path or URI.

    Raises:
        FileNotFoundError: config.json is not there.
    """
    with reading(directory, weights=False) as root:
        return settings_of(root, directory)


def settings_of(root: Path, directory: str) -> ModelSettings:
    """The same of a directory that lies below `root` here."""
    written = json.loads((root / "config.json").read_text(encoding="utf-8"))
    return read_config(written, f"{directory.rstrip('/')}/config.json")


def _read_own(written: Mapping[str, Any], layout: Layout, path: str) -> ModelSettings | None:
    """The shape whose config.json is this very one; None where there is none."""
    try:
        settings = _read(SimpleNamespace(**written), layout, path)
        special = {name: written[f"{name}_token_id"] for name in _SPECIAL if f"{name}_token_id" in written}
        again = hugging_face_config(settings, special)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return settings if {**again, "dtype": written.get("dtype")} == {"dtype": None, **written} else None


def _read(config: Any, layout: Layout, path: str) -> ModelSettings:
    """The shape that a whole configuration describes."""
    _refuse(config, layout, path)
    theta, scaling = _read_rope(config, path)
    window, every = _read_windows(config, path) if layout.windows else (None, None)
    shape = {
        "architecture": layout.architecture,
        "vocabulary_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_size": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        "feed_forward_size": config.intermediate_size,
        "activation": layout.activation,
        "norms": layout.norms,
        "qk_norm": layout.qk_norm,
        "window": window,
        "maximum_positions": config.max_position_embeddings,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "norm_epsilon": config.rms_norm_eps,
        "tied_embeddings": config.tie_word_embeddings,
    }
    try:
        return ModelSettings.model_validate(shape if every is None else shape | {"full_attention_every": every})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{path}: {where}{': ' if where else ''}{problem['msg']}") from error


def _refuse(config: Any, layout: Layout, path: str) -> None:
    only = {
        "architectures": (getattr(config, "architectures", None) or [layout.class_name], [layout.class_name]),
        "hidden_act": (config.hidden_act, _ACTIVATIONS[layout.activation]),
        "attention_bias": (config.attention_bias, False),
        "mlp_bias": (getattr(config, "mlp_bias", False), False),
        "partial_rotary_factor": (getattr(config, "partial_rotary_factor", None) or 1.0, 1.0),
        "quantization_config": (getattr(config, "quantization_config", None), None),
    }
    for key, (found, expected) in only.items():
        if found != expected:
            raise ValueError(f"{path}: {key} is {found!r}; this network has {expected!r} only")


def _read_windows(config: Any, path: str) -> tuple[int | None, int | None]:
    """The window and `full_attention_every` that give these layer types; (None, None): every layer sees everything."""
    types, layers = list(config.layer_types), config.num_hidden_layers
    names = {"full_attention": None, "sliding_attention": config.sliding_window}
    unknown = sorted(set(types) - names.keys())
    if unknown or len(types) != layers:
        found = f"has {unknown[0]!r}" if unknown else f"has {len(types)} entries"
        raise ValueError(f"{path}: layer_types {found}; expected {layers} of {' and '.join(names)}")
    if "sliding_attention" not in types:
        return None, None
    if config.sliding_window is None:
        raise ValueError(f"{path}: layer_types has 'sliding_attention', and sliding_window is missing or not used")
    default = ModelSettings.model_fields["full_attention_every"].default
    for every in (default, *range(1, layers + 1)):
        pattern = [(layer + 1) % every == 0 or layer == layers - 1 for layer in range(layers)]
        if pattern == [kind == "full_attention" for kind in types]:
            return config.sliding_window, every
    raise ValueError(
        f"{path}: layer_types: expected every so many-th layer, and the last, to be 'full_attention'; found "
        f"{''.join('f' if kind == 'full_attention' else 's' for kind in types)} (f: full, s: sliding)"
    )


def _read_rope(config: Any, path: str) -> tuple[float, dict[str, Any] | None]:
    """The base of the frequencies, and the fields of `RopeScaling`."""
    parameters, where = config.rope_parameters, "rope_parameters"
    if "full_attention" in parameters:
        full, sliding = parameters["full_attention"], parameters.get("sliding_attention")
        if "sliding_attention" in config.layer_types and sliding != full:
            raise ValueError(
                f"{path}: rope_parameters.sliding_attention is {sliding}, and full_attention {full}; in this network "
                "all layers have the same"
            )
        parameters, where = full, "rope_parameters.full_attention"
    kind = parameters["rope_type"]
    if kind not in ("default", "linear", "llama3", "yarn"):
        raise ValueError(f"{path}: {where}.rope_type is {kind!r}; can be default, linear, llama3 or yarn")
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"{path}: {where}.partial_rotary_factor is {parameters['partial_rotary_factor']}; can be 1.0")
    theta, factor = float(parameters["rope_theta"]), parameters.get("factor")
    if kind == "default" or (factor == 1 and parameters.get("attention_factor") in (None, 1)):
        return theta, None
    if factor is None:
        raise ValueError(f"{path}: {where}.factor is missing; {kind} needs it")
    original = parameters.get("original_max_position_embeddings")
    scaling = {
        "type": kind,
        "factor": float(factor),
        "original_positions": original or max(1, round(config.max_position_embeddings / factor)),
    }
    if kind == "llama3":
        scaling["low_frequency_factor"] = parameters["low_freq_factor"]
        scaling["high_frequency_factor"] = parameters["high_freq_factor"]
    if kind == "yarn":
        scaling |= _read_yarn(parameters, f"{path}: {where}")
    return theta, scaling


def _read_yarn(parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    if parameters.get("truncate", True) is not True:
        raise ValueError(f"{where}.truncate is {parameters['truncate']}; can be true")
    sharpness = parameters.get("attention_factor")
    above, below = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if sharpness is None and above and below:  # as DeepSeek's models spell it
        steps = 0.1 * math.log(parameters["factor"])
        sharpness = (above * steps + 1.0) / (below * steps + 1.0)
    scaling = {"attention_factor": sharpness}
    for key, default in (("beta_fast", 32.0), ("beta_slow", 1.0)):
        scaling[key] = parameters.get(key) or default
    return scaling
