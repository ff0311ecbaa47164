"""JSON lines, plain, `.gz` or `.zst`: an object a line with `text` or `html`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, Literal

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".json.gz")
FIELDS = ("title", "url", "date", "language", "license")


class JsonlSource(Source, frozen=True):
    """Rows `{"text" | "html", "url"?, "title"?, "date"?, "language"?, "license"?}`; other keys are ignored."""

    kind: Literal["jsonl"] = "jsonl"

    def accepts(self, path: str) -> bool:
        """JSON lines by the file's name."""
        return path.endswith(SUFFIXES)

    def read(self, path: str, file: int) -> Iterator[Raw]:
        """A document a line; blank lines are none. A line that is not what it should be is a `problem`."""
        fs, inner = storage.filesystem(path)
        with fs.open_input_stream(inner, compression="detect") as stream:
            try:
                for row, line in enumerate(io.BufferedReader(stream)):
                    if line.strip():
                        yield parse(line, file, row)
            except OSError as error:
                yield Raw(file, _AFTER_ALL, 0, problem="broken_file", detail=f"{path}: {error}"[:300])


_AFTER_ALL = 9_999_999


def parse(line: bytes, file: int, row: int) -> Raw:
    """One line as a record."""
    raw = Raw(file, row, len(line))
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raw.problem, raw.detail = "json", f"line {row + 1}: {error}"[:300]
        return raw
    return from_mapping(raw, value)


def from_mapping(raw: Raw, value: Any) -> Raw:
    """Fill a record from a row's keys, shared by the formats that have rows."""
    if not isinstance(value, dict):
        raw.problem, raw.detail = "not_an_object", f"row {raw.row + 1} is {type(value).__name__}"
        return raw
    text, html = value.get("text"), value.get("html")
    if isinstance(text, str):
        raw.text = text
    elif isinstance(html, str | bytes):
        raw.html = html
    else:
        raw.problem, raw.detail = "no_text", f"row {raw.row + 1} has keys {', '.join(map(str, value))}"[:300]
        return raw
    for name in FIELDS:
        given = value.get(name)
        if given is not None:
            setattr(raw, name, str(given))
    return raw
