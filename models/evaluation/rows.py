"""Rows of task files: JSON lines whose shape is checked, so that an error names the file, the row and the key."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.fs as pafs

Row = dict[str, Any]
Shape = dict[str, type | tuple[type, ...]]


class RowError(ValueError):
    """A task file is missing or a row of it is not what the task expects."""


def read(location: str, shape: Shape, limit: int | None = None) -> list[Row]:
    """The first rows of a task file.

    Args:
        location: an absolute path or URI.
        shape: key -> type of its value, for every key that a row must have.
        limit: rows at most; None for all.

    Raises:
        RowError: no such file, no rows, or a row that does not fit.
    """
    rows: list[Row] = []
    for number, line in enumerate(_text(location).splitlines(), start=1):
        if limit is not None and len(rows) >= limit:
            break
        if not line.strip():
            continue
        rows.append(_row(line, shape, f"{location}:{number}"))
    if not rows:
        raise RowError(f"{location}: no rows")
    return rows


def _text(location: str) -> str:
    fs, path = pafs.FileSystem.from_uri(location) if "://" in location else (pafs.LocalFileSystem(), location)
    try:
        with fs.open_input_stream(path) as stream:
            return bytes(stream.read()).decode("utf-8")
    except FileNotFoundError:
        raise RowError(f"{location}: no such task file") from None
    except UnicodeDecodeError as error:
        raise RowError(f"{location}: not UTF-8 ({error})") from None


def _row(line: str, shape: Shape, place: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise RowError(f"{place}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise RowError(f"{place}: expected an object, found {type(row).__name__}")
    for key, kind in shape.items():
        if key not in row:
            raise RowError(f"{place}: {key!r} is missing; expected {', '.join(shape)}")
        if not isinstance(row[key], kind) or isinstance(row[key], bool):
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise RowError(f"{place}: {key!r} is {row[key]!r:.80}; expected {names}")
    return row
