"""The network that is planned for: a preset, a recipe's model, a Hugging Face config.json, or a number of parameters.

GPT-2 and the first OLMo do not run here, but their products are those of networks that do: they are planned as those,
with the parameters that they have besides (biases, positions, LayerNorm's shifts) or lack counted.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from jobs.job import InputError
from models.network import PRESETS, ModelSettings, expand, of_parameters

_VOCABULARY = 65536
"""Of shapes that only a number of parameters is known of."""
_POSITIONS = 4096


@dataclass(frozen=True)
class Shape:
    """A network for planning.

    Attributes:
        settings: a network of ours with the same products.
        besides: parameters more (or fewer) than `settings` has.
        source: where it is from, in words.
    """

    settings: ModelSettings
    besides: int = 0
    source: str = ""

    @property
    def parameters(self) -> int:
        """Trainable, a tied output matrix counted once."""
        return self.settings.parameters() + self.besides

    @property
    def embedding(self) -> int:
        """Weights of the embedding matrix."""
        return self.settings.vocabulary_size * self.settings.hidden_size

    @property
    def matrices(self) -> int:
        """Weights of the blocks' matrices: what the FLOPs of a token without attention are of."""
        return round(self.settings.flops_per_token(0) / 6) - self.embedding

    @property
    def largest(self) -> int:
        """Elements of the largest parameter."""
        return max(self.embedding, self.settings.hidden_size * self.settings.feed_forward_size)


def count(text: str) -> int:
    """`124M`, `7B`, `2T`, `4096` or `2e12` as a number.

    Raises:
        InputError: it is none above 0.
    """
    found = re.fullmatch(r"\s*([0-9][0-9_.]*(?:e[+]?\d+)?)\s*([kKmMbBgGtT]?)\s*", text)
    try:
        value = float(found[1]) if found else 0.0
    except ValueError:
        value = 0.0
    if found is None or value <= 0:
        raise InputError(f"{text!r}: expected a number as 124M, 7B, 2T or 4096")
    return round(value * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}[found[2].lower()])


def of_size(text: str) -> Shape:
    """A shape of about so many parameters, with a vocabulary of 65,536 where that leaves a network.

    Raises:
        InputError: no number, or no shape comes near it.
    """
    wanted = count(text)
    for vocabulary in (_VOCABULARY, 32768, 8192, 4096):
        try:
            found = of_parameters(wanted, vocabulary_size=vocabulary, maximum_positions=_POSITIONS)
        except ValueError as error:
            problem = error
            continue
        if found.layers > 1 and vocabulary * found.hidden_size < found.parameters() / 2:
            return Shape(found, 0, f"derived from {text} parameters, vocabulary {vocabulary:,} (assumed)")
        problem = ValueError(f"no network has about {wanted:,} parameters")
    raise InputError(f"--parameters {text}: {problem}")


def of_model(place: str) -> Shape:
    """A preset's name, a recipe with `model:`, or a config.json of Hugging Face.

    Raises:
        InputError: it is none of these; with the nearest preset.
    """
    if place in PRESETS:
        return Shape(PRESETS[place], 0, f"preset {place}")
    path = Path(place)
    if path.is_dir():
        path = path / "config.json"
    if not path.is_file():
        near = difflib.get_close_matches(place, PRESETS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"--model {place!r}: no preset and no file{hint} (expected a preset, a recipe or a config.json)"
        )
    try:
        text = path.read_text(encoding="utf-8")
        # YAML reads 1e-06 as a string.
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected keys and values, found {type(values).__name__}")
    if "model_type" in values:
        return of_config(values, str(path))
    if "model" not in values:
        raise InputError(f"{path}: neither model_type (a config.json) nor model (a recipe) is there")
    try:
        return Shape(ModelSettings.model_validate(expand(values["model"])), 0, f"the model of {path}")
    except (ValidationError, ValueError) as error:
        raise InputError(f"{path}: model: {' '.join(str(error).split())}") from None


def of_config(values: Mapping[str, Any], path: str) -> Shape:
    """The shape that a config.json describes.

    Args:
        values: its content.
        path: where it is, for errors.

    Raises:
        InputError: a kind of network that is not known, or a key that is missing.
    """
    kinds = {"gpt2": _gpt2, "olmo": _olmo}
    kind = values["model_type"]
    try:
        if kind in kinds:
            return kinds[kind](values, path)
        from models.network.configuration import read_config

        return Shape(read_config(values, path), 0, f"{kind} of {path}")
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]} is missing") from None
    except ValueError as error:
        text = " ".join(str(error).split())
        raise InputError(
            text + (f", {', '.join(kinds)}" if "can be" in text and "model_type" in text else "")
        ) from None


def _gpt2(values: Mapping[str, Any], path: str) -> Shape:
    """Radford et al. 2019: LayerNorm, learned positions, biases; two matrices with GELU; tied."""
    hidden, layers, inner = values["n_embd"], values["n_layer"], values.get("n_inner") or 4 * values["n_embd"]
    settings = ModelSettings(
        vocabulary_size=values["vocab_size"],
        hidden_size=hidden,
        layers=layers,
        heads=values["n_head"],
        kv_heads=values["n_head"],
        feed_forward_size=inner,
        activation="relu2",
        maximum_positions=values["n_positions"],
    )
    biases = layers * (3 * hidden + hidden + inner + hidden) + (2 * layers + 1) * hidden
    return Shape(settings, biases + values["n_positions"] * hidden, f"gpt2 of {path}")


def _olmo(values: Mapping[str, Any], path: str) -> Shape:
    """Groeneveld et al. 2024: as Llama, with norms that have no parameters."""
    hidden, layers = values["hidden_size"], values["num_hidden_layers"]
    settings = ModelSettings(
        vocabulary_size=values["vocab_size"],
        hidden_size=hidden,
        layers=layers,
        heads=values["num_attention_heads"],
        kv_heads=values.get("num_key_value_heads") or values["num_attention_heads"],
        feed_forward_size=values["intermediate_size"],
        maximum_positions=values["max_position_embeddings"],
        tied_embeddings=bool(values.get("tie_word_embeddings", False)),
    )
    return Shape(settings, -(2 * layers + 1) * hidden, f"olmo of {path}")
