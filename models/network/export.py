"""Networks to Hugging Face directories. The state dict needs no translation: it has Hugging Face's names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from models.network import shards
from models.network.configuration import hugging_face_config
from models.network.directory import reading, writing
from models.network.settings import ModelSettings

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
CHAT_TEMPLATE_FILE = "chat_template.jinja"
_SPECIAL = ("bos", "eos", "pad", "mask")
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    dtype: Literal["fp32", "bf16", "fp16"] | None = None,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a directory that transformers loads with a class of its own (`layouts.layout_of` says which).

    Args:
        state_dict: weights under Hugging Face names; a tied output matrix may be in it and is left out. Each is
            looked up once, and no more than a file's worth is held: a mapping may load them as they are asked for.
        settings: the network's shape.
        tokenizer_directory: a path or URI, where tokenizer.json and tokenizer_config.json are.
        out: a path or URI; what is there is replaced, once all is written.
        card: the model card, Markdown with front matter (`models.network.card.model_card` makes one).
        generation: also write generation_config.json (decoders only).
        lineage: what the model was made from, for lineage.json.
        chat_template: Jinja text for chat_template.jinja; None: the tokenizer directory's own, where it has one.
        end_tokens: tokens besides the tokenizer's end token at which generation stops.
        dtype: of the weights; None: as they are.
        max_shard_bytes: more weights than this go to several files and an index.

    Raises:
        ValueError: no class loads such a network; the weights are not those of `settings`, with the names that are
            missing, unknown or of another shape; the tokenizer has more tokens than the network, no mask token for an
            encoder, or not the end tokens.
        FileNotFoundError: the tokenizer's files are not there.
    """
    expected = shards.parameter_shapes(settings)
    ignored = {"lm_head.weight"} if settings.tied_embeddings else set()
    shards.check(dict.fromkeys(state_dict.keys() - ignored), expected, "the weights")
    with reading(tokenizer_directory, weights=False) as source, writing(out) as target:
        tokens = _tokens(source, settings.vocabulary_size)
        ids = _special_ids(source, tokens)
        if settings.architecture == "encoder" and ids["mask"] is None:
            raise ValueError(f"{source / 'tokenizer_config.json'}: has no mask_token; an encoder needs one")
        config = hugging_face_config(settings, ids)
        for name in (*_TOKENIZER_FILES, CHAT_TEMPLATE_FILE):
            if (source / name).exists():
                (target / name).write_bytes((source / name).read_bytes())
        if chat_template is not None:
            (target / CHAT_TEMPLATE_FILE).write_text(chat_template, encoding="utf-8")
        if generation and settings.architecture == "decoder":
            more = [_id(token, tokens, source / "tokenizer.json") for token in end_tokens]
            _write_json(target / "generation_config.json", _generation_config(ids, more))
        if lineage is not None:
            _write_json(target / "lineage.json", dict(lineage))
        (target / "README.md").write_text(card, encoding="utf-8")
        weights = _weights(state_dict, expected, None if dtype is None else _TYPES[dtype])
        kept = shards.write(weights, target, max_shard_bytes)
        _write_json(target / "config.json", config | {"dtype": str(kept).removeprefix("torch.")})


def _weights(
    state_dict: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    """The weights in the network's order, each checked, converted and brought to the CPU when its turn comes."""
    for name, shape in expected.items():
        weight = state_dict[name].detach()
        shards.check({name: tuple(weight.shape)}, {name: shape}, "the weights")
        yield name, weight.to("cpu", dtype).contiguous()


def _generation_config(ids: Mapping[str, int | None], more_ends: list[int]) -> dict[str, Any]:
    ends = sorted({id_ for id_ in (ids["eos"], *more_ends) if id_ is not None})
    values = {"bos_token_id": ids["bos"], "eos_token_id": ends or None, "pad_token_id": ids["pad"]}
    return {key: value for key, value in values.items() if value is not None}


def _tokens(tokenizer_directory: Path, vocabulary_size: int) -> dict[str, int]:
    """Token -> id, all of which the network must have."""
    path = tokenizer_directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokens = dict(tokenizer["model"]["vocab"]) | {t["content"]: t["id"] for t in tokenizer.get("added_tokens", [])}
    largest = max(tokens.values())
    if largest >= vocabulary_size:
        raise ValueError(f"{path}: has a token of id {largest}; the network's vocabulary_size is {vocabulary_size}")
    return tokens


def _special_ids(tokenizer_directory: Path, tokens: Mapping[str, int]) -> dict[str, int | None]:
    """Ids of the special tokens that tokenizer_config.json names."""
    path = tokenizer_directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    ids: dict[str, int | None] = {}
    for kind in _SPECIAL:
        token = config.get(f"{kind}_token")
        text = token["content"] if isinstance(token, dict) else token
        ids[kind] = None if text is None else _id(text, tokens, tokenizer_directory / "tokenizer.json")
    return ids


def _id(token: str, tokens: Mapping[str, int], path: Path) -> int:
    if token not in tokens:
        raise ValueError(f"{path}: has no token {token!r}")
    return tokens[token]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
