"""What flows through curation: raw records from sources, documents with signals, rejects, and their Arrow schemas."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

EXCERPT_CHARACTERS = 512


@dataclass(slots=True)
class Raw:
    """One record as a source found it: `text` or `html`, or the `problem` that kept it from being either.

    `file` is the position of its file in the source's sorted list, `row` its place in that file; together with
    the source's name they are its id. `size` is the bytes it took in the source, as far as the format tells.
    """

    file: int
    row: int
    size: int
    text: str | None = None
    html: str | bytes | None = None
    charset: str | None = None
    title: str | None = None
    url: str | None = None
    date: str | None = None
    language: str | None = None
    license: str | None = None
    problem: str | None = None
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Rejection:
    """Why a document goes: what was measured (`score`) against what (`threshold`); either may be absent."""

    stage: str
    reason: str
    score: float | None = None
    threshold: float | None = None


def document_id(source: str, file: int, row: int) -> str:
    """An id made from where the document stands, padded so that ids of a source sort by place."""
    return f"{source}/{file:05d}-{row:07d}"


PROVENANCE = [("file", pa.string()), ("row", pa.int64())]

CORPUS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("url", pa.string()),
        ("source", pa.string()),
        ("license", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("date", pa.string()),
        ("title", pa.string()),
        *PROVENANCE,
    ]
)
"""The corpus: UTF-8 text and where it came from. `file` is the input's location, `row` its place in that file."""

REJECT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("source", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("excerpt", pa.string()),
        ("detail", pa.string()),
        ("bytes", pa.int64()),
        *PROVENANCE,
    ]
)
"""One row for each removed document. `detail` is the kept document's id for duplicates, the identified language for
documents in other ones, an error's words for unreadable records; `bytes` is UTF-8 text where there was text, else the
record's size."""


def excerpt(text: str | bytes | None) -> str:
    """The first characters of a document, for people who want to see what was removed."""
    if text is None:
        return ""
    if isinstance(text, bytes):
        text = text[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
    return storable(text[:EXCERPT_CHARACTERS])


def storable(text: str) -> str:
    """The text without lone surrogates, which JSON escapes can make and UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def make_storable(raw: Raw) -> None:
    """The same for every string of a record."""
    for name in ("text", "title", "url", "date", "language", "license", "detail"):
        value = getattr(raw, name)
        if value is not None:
            setattr(raw, name, storable(value))
