"""Trees of plain text and Markdown: a document a file, long ones split into parts at blank lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.extraction import decode
from pipelines.curation.sources.base import Source, Split

SUFFIXES = (".txt", ".md", ".markdown", ".rst")
_BLANK = re.compile(r"\n[ \t]*\n\s*")


class TextSource(Source, frozen=True):
    """Text files; a book becomes several documents."""

    kind: Literal["text"] = "text"
    part_characters: int | None = Field(
        default=None, ge=100, description="split at the first blank line after so many characters; none: whole files"
    )

    max_file_bytes: int = Field(default=100_000_000, ge=1, description="larger files are rejected unread")

    def accepts(self, path: str) -> bool:
        """Text by the file's name."""
        return path.lower().endswith(SUFFIXES)

    def read(self, split: Split) -> Iterator[Raw]:
        """The file's parts in order; `position` numbers them."""
        if split.size > self.max_file_bytes:
            yield Raw(0, split.size, problem="file_bytes", detail=f"{split.size}, more than {self.max_file_bytes}")
            return
        data = storage.read_bytes(split.path)
        if b"\x00" in data[:8192]:
            yield Raw(0, len(data), problem="binary")
            return
        text = decode(data, html=False).replace("\r\n", "\n")
        parts = parts_of(text, self.part_characters) if self.part_characters else [text]
        for position, part in enumerate(parts):
            yield Raw(position, len(part.encode("utf-8", "replace")), text=part, title=_stem(split.path))


def parts_of(text: str, characters: int) -> list[str]:
    """Cut at the first blank line at or after every `characters` characters.

    Nothing but the blank lines at cuts is lost. A last part shorter than a quarter joins the one before it.
    """
    parts, start = [], 0
    while len(text) - start > characters:
        cut = _BLANK.search(text, start + characters)
        if cut is None or len(text) - cut.end() < characters // 4:
            break
        parts.append(text[start : cut.start()])
        start = cut.end()
    parts.append(text[start:])
    return parts


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
