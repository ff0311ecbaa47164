"""Recipes: YAML files with `base:` inheritance and dotted overrides, read into typed settings.

A recipe is a pydantic model with `extra="forbid"`. Whatever is wrong with one (a missing file, a key that nobody
knows, a value of the wrong type) is a `RecipeError` whose message names the file and the key and says what was
expected; jobs print it and exit with status 2.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipelines import storage

R = TypeVar("R", bound=BaseModel)


class RecipeError(Exception):
    """What is wrong with a recipe, in words for the person who wrote it."""


def load(schema: type[R], path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> R:
    """Read a recipe.

    Args:
        schema: the settings the recipe must fit.
        path: a YAML file, by its path or URI; its `base:` (relative to the file) is read first and its own keys win.
        overrides: `dotted.key=value` words; values are YAML, lists are indexed by number.

    Raises:
        RecipeError: with one line for each thing that is wrong.
    """
    values: dict[str, Any] = {}
    for _, layer in reversed(_layers(os.fspath(path))):
        values = _merge(values, layer)
    origins = [f"{path}"]
    for word in overrides:
        _override(values, word)
        origins.append(word)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(schema, problem, str(path)) for problem in error.errors())) from None


def files(path: str | os.PathLike[str]) -> list[str]:
    """The paths or URIs of a recipe and of the recipes that it is based on, its own first. Raises RecipeError."""
    return [place for place, _ in _layers(os.fspath(path))]


def dump(recipe: BaseModel) -> str:
    """The resolved recipe as YAML: reading it again gives the same recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True, width=110)


def _layers(path: str) -> list[tuple[str, dict[str, Any]]]:
    """The recipe's path or URI and its own keys, then those of its `base:`, and so on."""
    layers: list[tuple[str, dict[str, Any]]] = []
    seen: set[str] = set()
    place: str | None = path
    while place is not None:
        own = _own(place)
        if own in seen:
            raise RecipeError(f"{place}: its `base:` leads back to itself")
        seen.add(own)
        values = _read(place)
        layers.append((place, values))
        base = values.pop("base", None)
        if not isinstance(base, str | None):
            raise RecipeError(f"{place}: base: expected the path of a recipe, found {base!r}")
        place = None if base is None else storage.beside(place, base)
    return layers


def _own(place: str) -> str:
    # A relative path is from here, as people type it; storage would look for it below the home.
    return place if "://" in place else os.path.realpath(place)


def _read(place: str) -> dict[str, Any]:
    try:
        text = storage.read_bytes(_own(place)).decode()
    except FileNotFoundError:
        raise RecipeError(f"{place}: no such recipe{'' if '://' in place else _near_files(Path(place))}") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{place}: cannot be read ({error})") from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{place}: not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecipeError(f"{place}: expected keys and values, found {type(values).__name__}")
    return values


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Mappings are merged key by key; anything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _override(values: dict[str, Any], word: str) -> None:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise RecipeError(f"{word!r}: expected key=value, as in training.learning_rate=3e-4")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"{word!r}: the value is not YAML") from None
    if isinstance(value, str):
        # YAML 1.1 reads 3e-4 as a string; people who type it mean a number.
        with contextlib.suppress(ValueError):
            value = float(value)
    *parents, last = key.split(".")
    place: Any = values
    for depth, part in enumerate(parents):
        if isinstance(place, list):
            place = place[_position(place, part, word)]
            continue
        child = place.setdefault(part, {})
        if child is None:
            child = place[part] = {}
        if not isinstance(child, dict | list):
            raise RecipeError(f"{word!r}: {'.'.join(parents[: depth + 1])} is {child!r} and has no keys below it")
        place = child
    if isinstance(place, list):
        place[_position(place, last, word)] = value
    else:
        place[last] = value


def _position(place: list[Any], part: str, word: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise RecipeError(f"{word!r}: {part!r} is no position in a list of {len(place)}")
    return int(part)


def _explain(schema: type[BaseModel], problem: Any, path: str) -> str:
    parts, models = _walk(schema, problem["loc"])
    key = ".".join(str(part) for part in parts) or "(the whole recipe)"
    kind = problem["type"]
    if kind == "extra_forbidden":
        known = [name for model in models for name in model.model_fields]
        near = difflib.get_close_matches(str(parts[-1]), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(sorted(set(known)))}"
        return f"{path}: {key}: unknown key{hint}"
    if kind == "missing":
        return f"{path}: {key}: missing"
    found = problem.get("input")
    shown = "" if isinstance(found, dict | list) else f" (found {found!r})"
    return f"{path}: {key}: {problem['msg'].removeprefix('Value error, ')}{shown}"


def _walk(schema: type[BaseModel], location: Sequence[Any]) -> tuple[list[Any], list[type[BaseModel]]]:
    """A problem's place as the recipe spells it, and the settings that hold its last key.

    Pydantic's places also name a union's member by its tag and validators by their function: neither is a key.
    """
    parts: list[Any] = []
    holders: list[type[BaseModel]] = [schema]
    models = holders
    for position, part in enumerate(location):
        if isinstance(part, int):
            parts.append(part)
            continue
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        if fields:
            parts.append(part)
            holders, models = models, [inner for field in fields for inner in _models_in(field.annotation)]
        elif tagged := [model for model in models if _has_tag(model, part)]:
            models = tagged
        elif position == len(location) - 1 and not part.startswith("function-"):
            parts.append(part)
            holders = models
    return parts, holders


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    return any(tag in typing.get_args(field.annotation) for field in model.model_fields.values())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    origin = typing.get_origin(annotation)
    if origin is None and not isinstance(annotation, types.UnionType):
        return []
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def _near_files(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" (there is no directory {folder})"
    near = difflib.get_close_matches(path.name, [p.name for p in folder.glob("*.yaml")], n=3, cutoff=0.5)
    return f"; near it: {', '.join(near)}" if near else ""
