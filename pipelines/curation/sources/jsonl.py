"""JSON lines, plain, `.gz`, `.zst` or `.bz2`: an object a line with `text` or `html`.

A plain file is cut anywhere: a split has the lines that begin in it. Positions are byte offsets of lines in the
uncompressed file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source, Split, take_hints
from pipelines.reading import COMPRESSED, Decompressed, StoredFile

SUFFIXES = (".jsonl", ".ndjson", ".json")
COLUMNS = ("text", "html", "title", "url", "date", "language", "license")
CHUNK_BYTES = 1 << 20


class JsonlSource(Source, frozen=True):
    """Rows `{"text" | "html", "url"?, "title"?, "date"?, "language"?, "license"?}`; other keys are ignored."""

    cuttable: ClassVar[bool] = True

    kind: Literal["jsonl"] = "jsonl"
    fields: dict[str, str] = Field(default={}, description="our name -> the rows' key, where it is another one")
    max_row_bytes: int = Field(default=64_000_000, ge=1, description="a longer line is rejected without being held")

    def accepts(self, path: str) -> bool:
        """JSON lines by the file's name."""
        for suffix in COMPRESSED:
            path = path.removesuffix(suffix)
        return path.endswith(SUFFIXES)

    def cuttable_file(self, path: str) -> bool:
        """Plain files only."""
        return not path.endswith(COMPRESSED)

    def read(self, split: Split) -> Iterator[Raw]:
        """A document a line; blank lines are none. A line that is not what it should be is a `problem`."""
        names = {name: self.fields.get(name, name) for name in COLUMNS}
        position = split.begin
        with StoredFile(split.path) as file:
            suffix = next((suffix for suffix in COMPRESSED if split.path.endswith(suffix)), None)
            content = file if suffix is None else Decompressed(file, suffix)
            begin, end = (split.begin, split.end) if suffix is None else (0, None)
            for position, line, size in lines(content, begin, end, self.max_row_bytes):
                if raw := _row(line, position, size, names, self.max_row_bytes):
                    yield raw
        if isinstance(content, Decompressed) and content.problem is not None:
            detail = f"{split.path}: {content.problem}"[:300]
            yield Raw(position + 1, 0, problem="broken_file", detail=detail)


def lines(file: Any, begin: int, end: int | None, most: int) -> Iterator[tuple[int, bytes | None, int]]:
    """Lines that begin at bytes [begin, end): (offset, line without its end, bytes).

    A line longer than `most` comes as None, and no more than that of it is held in memory.
    """
    place = begin
    skipping = False
    if begin > 0:
        # The line before this split ends at the first line break at or after begin - 1.
        place = begin - 1
        skipping = True
        file.seek(place)
    pending: list[bytes] = []
    held = 0
    while chunk := file.read(CHUNK_BYTES):
        at = 0
        while (found := chunk.find(b"\n", at)) >= 0:
            piece = chunk[at:found]
            length = held + len(piece)
            if not skipping:
                if end is not None and place >= end:
                    return
                yield place, (b"".join([*pending, piece]) if length <= most else None), length
            place += length + 1
            pending, held, skipping = [], 0, False
            at = found + 1
        rest = chunk[at:]
        held += len(rest)
        if not skipping and held <= most:
            pending.append(rest)
        else:
            pending = []
        if end is not None and not skipping and place >= end:
            return
    if held and not skipping and (end is None or place < end):
        yield place, (b"".join(pending) if held <= most else None), held


def _row(line: bytes | None, position: int, size: int, names: dict[str, str], most: int) -> Raw | None:
    if line is None:
        return Raw(
            position, size, problem="row_bytes", detail=f"byte {position}: a line of {size} bytes, more than {most}"
        )
    return parse(line, position, names) if line and not line.isspace() else None


def parse(line: bytes, position: int, names: dict[str, str]) -> Raw:
    """One line as a record."""
    raw = Raw(position, len(line))
    try:
        value = json.loads(str(line, "utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raw.problem, raw.detail = "json", f"byte {position}: {error}"[:300]
        return raw
    return from_mapping(raw, value, names)


def from_mapping(raw: Raw, value: Any, names: dict[str, str]) -> Raw:
    """Fill a record from a row's keys, shared by the formats that have rows."""
    if not isinstance(value, dict):
        raw.problem, raw.detail = "not_an_object", f"position {raw.position} is {type(value).__name__}"
        return raw
    text, html = value.get(names["text"]), value.get(names["html"])
    if isinstance(text, str):
        raw.text = text
    elif isinstance(html, str | bytes):
        raw.html = html
    else:
        keys = ", ".join(f"{key} ({type(one).__name__})" for key, one in value.items())
        raw.problem, raw.detail = "no_text", f"position {raw.position} has {keys or 'no keys'}"[:300]
        return raw
    for name in COLUMNS[2:]:
        given = value.get(names[name])
        if given is not None:
            setattr(raw, name, str(given))
    take_hints(raw)
    return raw
