"""Hugging Face directories: a network out, a network in. The state dict needs no translation either way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from models.network.directory import reading, writing
from models.network.settings import ModelSettings

_CLASSES = {
    "decoder": ("LlamaForCausalLM", "llama"),
    "encoder": ("EuroBertForMaskedLM", "eurobert"),
}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
CHAT_TEMPLATE_FILE = "chat_template.jinja"
_SPECIAL = ("bos", "eos", "pad", "mask")


def export_model(
    state_dict: Mapping[str, Tensor],
    settings: ModelSettings,
    tokenizer_directory: str,
    out: str,
    card: str,
    generation: bool = True,
    lineage: Mapping[str, Any] | None = None,
    chat_template: str | None = None,
    end_tokens: tuple[str, ...] = (),
) -> None:
    """Write a directory that `AutoModelForCausalLM` (decoder) or `AutoModelForMaskedLM` (encoder) loads.

    Args:
        state_dict: weights under Hugging Face names; a tied output matrix may be in it and is left out.
        settings: the network's shape.
        tokenizer_directory: where tokenizer.json and tokenizer_config.json are.
        out: a path or URI; what is there is replaced, once all is written.
        card: the model card, Markdown with front matter (`models.network.card.model_card` makes one).
        generation: also write generation_config.json (decoders only).
        lineage: what the model was made from, for lineage.json.
        chat_template: Jinja text for chat_template.jinja; None: the tokenizer directory's own, where it has one.
        end_tokens: tokens besides the tokenizer's end token at which generation stops.

    Raises:
        ValueError: the weights are not those of `settings`, with the names that are missing, unknown or of another
            shape; or an end token that the tokenizer does not know.
        FileNotFoundError: the tokenizer's files are not there.
    """
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    if settings.tied_embeddings:
        weights.pop("lm_head.weight", None)
    _check(weights, settings, "the weights")
    with reading(tokenizer_directory) as source, writing(out) as target:
        ids = _special_ids(source)
        config = hugging_face_config(settings, ids) | {"dtype": _dtype(weights)}
        _write_json(target / "config.json", config)
        for name in (*_TOKENIZER_FILES, CHAT_TEMPLATE_FILE):
            if (source / name).exists():
                (target / name).write_bytes((source / name).read_bytes())
        if chat_template is not None:
            (target / CHAT_TEMPLATE_FILE).write_text(chat_template, encoding="utf-8")
        if generation and settings.architecture == "decoder":
            stops = [ids["eos"], *_token_ids(source, end_tokens)]
            ends = sorted({id_ for id_ in stops if id_ is not None})
            values = {"bos_token_id": ids["bos"], "eos_token_id": ends, "pad_token_id": ids["pad"]}
            _write_json(target / "generation_config.json", values)
        if lineage is not None:
            _write_json(target / "lineage.json", dict(lineage))
        (target / "README.md").write_text(card, encoding="utf-8")
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
        # safetensors makes it readable by its owner alone; other workers' accounts read it too.
        (target / "model.safetensors").chmod(0o644)


def import_model(directory: str) -> tuple[ModelSettings, dict[str, Tensor]]:
    """Shape and weights of a Hugging Face directory of one of the two classes.

    Raises:
        ValueError: another architecture, or a feature that this network has not, named with the file and key.
        FileNotFoundError: config.json or the weights are not there.
    """
    with reading(directory) as root:
        settings = import_settings(str(root))
        weights: dict[str, Tensor] = {}
        for file in _weight_files(root):
            weights |= _load(file)
    if settings.tied_embeddings:
        weights.pop("lm_head.weight", None)
    _check(weights, settings, directory)
    return settings, weights


def import_settings(directory: str) -> ModelSettings:
    """The shape alone; errors as in `import_model`."""
    path = f"{directory.rstrip('/')}/config.json"
    with reading(directory) as root:
        config = json.loads((root / "config.json").read_text(encoding="utf-8"))
    names: dict[str, Literal["decoder", "encoder"]] = {"llama": "decoder", "eurobert": "encoder"}
    architecture = names.get(config.get("model_type", ""))
    if architecture is None:
        raise ValueError(f"{path}: model_type is {config.get('model_type')!r}; can be {' or '.join(names)}")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    only = {
        "hidden_act": (config.get("hidden_act", "silu"), "silu"),
        "attention_bias": (config.get("attention_bias", False), False),
        "mlp_bias": (config.get("mlp_bias", False), False),
        "head_dim": (config.get("head_dim") or hidden // heads, hidden // heads),
        "rope_type": (rope.get("rope_type", rope.get("type", "default")), "default"),
    }
    for key, (found, expected) in only.items():
        if found != expected:
            raise ValueError(f"{path}: {key} is {found!r}; this network has {expected!r} only")
    return ModelSettings(
        architecture=architecture,
        vocabulary_size=config["vocab_size"],
        hidden_size=hidden,
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        feed_forward_size=config["intermediate_size"],
        maximum_positions=config.get("max_position_embeddings", 2048),
        rope_theta=rope.get("rope_theta") or config.get("rope_theta", 10000.0),
        norm_epsilon=config.get("rms_norm_eps", 1e-6 if architecture == "decoder" else 1e-5),
        tied_embeddings=config.get("tie_word_embeddings", False),
    )


def hugging_face_config(settings: ModelSettings, special_ids: Mapping[str, int | None]) -> dict[str, Any]:
    """What config.json says, but for the weights' type.

    Args:
        settings: the shape.
        special_ids: ids under `bos`, `eos`, `pad` and `mask`.
    """
    class_name, model_type = _CLASSES[settings.architecture]
    config: dict[str, Any] = {
        "architectures": [class_name],
        "model_type": model_type,
        "vocab_size": settings.vocabulary_size,
        "hidden_size": settings.hidden_size,
        "intermediate_size": settings.feed_forward_size,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "num_key_value_heads": settings.kv_heads,
        "head_dim": settings.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": settings.maximum_positions,
        "initializer_range": 0.02,
        "rms_norm_eps": settings.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": settings.rope_theta},
        "tie_word_embeddings": settings.tied_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "bos_token_id": special_ids.get("bos"),
        "eos_token_id": special_ids.get("eos"),
        "pad_token_id": special_ids.get("pad"),
    }
    if settings.architecture == "encoder":
        config["mask_token_id"] = special_ids.get("mask")
    return config


def _special_ids(tokenizer_directory: Path) -> dict[str, int | None]:
    """Ids of the special tokens that tokenizer_config.json names."""
    config = json.loads((tokenizer_directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    ids: dict[str, int | None] = {}
    for kind in _SPECIAL:
        token = config.get(f"{kind}_token")
        text = token["content"] if isinstance(token, dict) else token
        ids[kind] = _token_ids(tokenizer_directory, (text,))[0] if text is not None else None
    return ids


def _token_ids(tokenizer_directory: Path, tokens: tuple[str, ...]) -> list[int]:
    path = tokenizer_directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    known = dict(tokenizer["model"]["vocab"]) | {t["content"]: t["id"] for t in tokenizer.get("added_tokens", [])}
    for token in tokens:
        if token not in known:
            raise ValueError(f"{path}: has no token {token!r}")
    return [known[token] for token in tokens]


def _check(weights: Mapping[str, Tensor], settings: ModelSettings, where: str) -> None:
    """Raise ValueError unless names and shapes are those of the settings."""
    from models.network.transformer import Transformer

    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in Transformer(settings).state_dict().items()}
    if settings.tied_embeddings:
        expected.pop("lm_head.weight")
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} is unknown" for name in found.keys() - expected.keys()]
    problems += [
        f"{name} is {found[name]}, expected {expected[name]}"
        for name in expected.keys() & found.keys()
        if found[name] != expected[name]
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5])
        raise ValueError(f"{where}: not the weights of this {settings.architecture}: {shown} ({len(problems)} in all)")


def _weight_files(root: Path) -> list[Path]:
    index = root / "model.safetensors.index.json"
    if index.exists():
        return sorted({root / file for file in json.loads(index.read_text())["weight_map"].values()})
    single = root / "model.safetensors"
    if not single.exists():
        raise FileNotFoundError(f"{root}: neither model.safetensors nor model.safetensors.index.json is there")
    return [single]


def _load(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(file))


def _dtype(weights: Mapping[str, Tensor]) -> str:
    return str(next(iter(weights.values())).dtype).removeprefix("torch.")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
