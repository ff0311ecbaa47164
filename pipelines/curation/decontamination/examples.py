"""Evaluation files as examples: their texts, where they stand, and a key by which an evaluation finds them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines import storage
from pipelines.buffers import strings
from pipelines.curation.decontamination.settings import DecontaminationSettings, TaskFiles
from pipelines.curation.documents import storable
from pipelines.curation.sources.jsonl import lines
from pipelines.reading import COMPRESSED, Decompressed, StoredFile

MAX_ROW_BYTES = 64_000_000


@dataclass(frozen=True)
class Examples:
    """All examples of all tasks, in the order of the settings, of the files' names and of the rows."""

    tasks: list[str]
    """Names."""
    files: list[str]
    """Locations."""
    task: list[int]
    """For each example the number of its task."""
    file: list[int]
    """For each example the number of its file."""
    row: list[int]
    """For each example its line in the file, from 1."""
    key: list[str]
    """For each example what `row_key` makes of its row."""
    texts: pa.LargeStringArray
    """The texts of all examples."""
    owner: list[int]
    """For each text the number of its example."""


def row_key(row: Any) -> str:
    """32 hex digits that name a row by what it holds: SHA-256 of its JSON with sorted keys."""
    content = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def files_of(settings: DecontaminationSettings) -> dict[str, list[str]]:
    """Task -> its files' locations, sorted. Raises FileNotFoundError for a path that names none."""
    found: dict[str, list[str]] = {}
    for name, task in settings.tasks.items():
        locations: set[str] = set()
        for path in task.paths:
            named = storage.expand(path)
            if not named:
                raise FileNotFoundError(f"decontamination.tasks.{name}: {path}: no such evaluation file")
            locations.update(named)
        found[name] = sorted(locations)
    return found


def read(settings: DecontaminationSettings) -> Examples:
    """All examples.

    Raises:
        FileNotFoundError: a path names no file.
        ValueError: a row is not a JSON object, or has none of the task's fields; the message names file and line.
    """
    found = Examples(list(settings.tasks), [], [], [], [], [], strings([]), [])
    texts: list[str] = []
    for number, (name, locations) in enumerate(files_of(settings).items()):
        before = len(found.key)
        for location in locations:
            if location not in found.files:
                found.files.append(location)
            file = found.files.index(location)
            for line, row in rows(location):
                parts = texts_of(row, settings.tasks[name], f"{location}:{line}")
                found.owner.extend([len(found.key)] * len(parts))
                texts += parts
                found.task.append(number)
                found.file.append(file)
                found.row.append(line)
                found.key.append(row_key(row))
        if len(found.key) == before:
            raise ValueError(
                f"decontamination.tasks.{name}: {', '.join(locations)}: no rows; expected an example a line"
            )
    return Examples(**{**vars(found), "texts": strings(texts)})


def rows(location: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines with their line numbers from 1.

    Raises:
        ValueError: a line is none, or the file is broken: a task of which a part is unread is not checked.
    """
    suffix = next((suffix for suffix in COMPRESSED if location.endswith(suffix)), None)
    with StoredFile(location) as file:
        content = file if suffix is None else Decompressed(file, suffix)
        for number, (_, line, size) in enumerate(lines(content, 0, None, MAX_ROW_BYTES), start=1):
            place = f"{location}:{number}"
            if line is None:
                raise ValueError(f"{place}: a line of {size} bytes; expected at most {MAX_ROW_BYTES}")
            if not line.strip():
                continue
            try:
                row = json.loads(str(line, "utf-8-sig"))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{place}: not JSON ({error})") from None
            if not isinstance(row, dict):
                raise ValueError(f"{place}: expected an object, found {type(row).__name__}")
            yield number, row
    if isinstance(content, Decompressed) and content.problem is not None:
        raise ValueError(f"{location}: {content.problem}")


def texts_of(row: dict[str, Any], task: TaskFiles, place: str) -> list[str]:
    """The texts of an example. Raises ValueError where the row has not the task's fields."""
    if task.fields is None:
        found = list(_strings(row))
    else:
        found = []
        for field in task.fields:
            values = list(_at(row, field))
            if not values:
                raise ValueError(f"{place}: no field {field!r}; the row has {', '.join(row) or 'no keys'}")
            found += [text for value in values for text in _strings(value)]
    found = [storable(text) for text in found]
    return ["\n".join(found)] if task.joined else found


def _at(value: Any, path: str) -> Iterator[Any]:
    if isinstance(value, list):
        if not value:
            yield None
        for each in value:
            yield from _at(each, path)
    elif isinstance(value, dict):
        if path in value:
            yield value[path]
            return
        key, _, rest = path.partition(".")
        if rest and key in value:
            yield from _at(value[key], rest)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
