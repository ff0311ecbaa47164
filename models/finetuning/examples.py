"""Supervised examples out of JSON lines: pairs of texts, or whole conversations.

A format is a function from (row, settings) to conversations, and one line in `models.finetuning.FORMATS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow.fs as pafs
from pydantic import BaseModel, Field, field_validator

from models.finetuning.template import Message

Split = Literal["train", "validation"]


class Direction(BaseModel, extra="forbid", frozen=True):
    """One task that a pair of texts sets: say this, expect that."""

    instruction: str = Field(description="what the user says; {text} stands for the source text")
    source: str = Field(description="the field of a row that holds the source text")
    target: str = Field(description="the field that holds the answer")

    @field_validator("instruction")
    @classmethod
    def _has_a_place_for_the_text(cls, instruction: str) -> str:
        if instruction.count("{text}") != 1:
            raise ValueError("expected {text} once, where the source text goes")
        return instruction

    def ask(self, text: str) -> Message:
        """The user's message for a source text."""
        return {"role": "user", "content": self.instruction.replace("{text}", text)}


class ExampleSettings(BaseModel, extra="forbid", frozen=True):
    """What an example is, and which examples are held out."""

    format: Literal["pairs", "messages"] = Field(
        default="pairs", description="pairs: rows with two texts; messages: rows with a conversation under `messages`"
    )
    directions: tuple[Direction, ...] = Field(
        default=(), description="pairs only: one example a direction, the instruction naming the language"
    )
    system: str = Field(default="", description="a system message before every example; empty: none")
    validation_fraction: float = Field(
        default=0.02, ge=0, lt=1, description="held out from training, by the hash of a row's id"
    )


@dataclass(frozen=True)
class Example:
    """A conversation and the row it comes from (`file:line`, for messages to people)."""

    place: str
    messages: tuple[Message, ...]


def read_examples(location: str, settings: ExampleSettings, split: Literal["train", "validation"]) -> Iterator[Example]:
    """Examples of one side of the split, in file order.

    Raises:
        ValueError: a row is not what its format wants, with file, line and key.
    """
    from models.finetuning import FORMATS

    for place, row in _rows(location):
        if is_validation(_key(row), settings.validation_fraction) != (split == "validation"):
            continue
        try:
            conversations = list(FORMATS[settings.format](row, settings))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{place}: {error.args[0] if error.args else error}") from None
        lead: tuple[Message, ...] = ({"role": "system", "content": settings.system},) if settings.system else ()
        for messages in conversations:
            yield Example(place, lead + messages)


def from_pair(row: Mapping[str, Any], settings: ExampleSettings) -> Iterator[tuple[Message, ...]]:
    """One conversation a direction."""
    if not settings.directions:
        raise ValueError("format pairs needs at least one of examples.directions")
    for direction in settings.directions:
        text, answer = _text(row, direction.source), _text(row, direction.target)
        yield (direction.ask(text), {"role": "assistant", "content": answer})


def from_messages(row: Mapping[str, Any], settings: ExampleSettings) -> Iterator[tuple[Message, ...]]:
    """The row's own conversation."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: expected a list of {role, content}")
    yield tuple({"role": _text(message, "role"), "content": _text(message, "content")} for message in messages)


def is_validation(key: str, fraction: float) -> bool:
    """Whether the row of this key is held out: by hash, so rows added later move no other row."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") < fraction * 2**64


def _key(row: Mapping[str, Any]) -> str:
    return str(row["id"]) if "id" in row else json.dumps(row, sort_keys=True)


def _text(row: Mapping[str, Any], key: str) -> str:
    text = row.get(key)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{key}: expected text, found {text!r}")
    return text


def _rows(location: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "://" in location:
        files, path = pafs.FileSystem.from_uri(location)
    else:
        files, path = pafs.LocalFileSystem(), location
    with files.open_input_stream(path) as stream:
        lines = stream.read().decode("utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{location}:{number}: not JSON ({error})") from None
            if not isinstance(row, dict):
                raise ValueError(f"{location}:{number}: expected an object, found {type(row).__name__}")
            yield f"{location}:{number}", row
