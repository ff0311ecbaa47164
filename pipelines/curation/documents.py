"""What flows through curation: raw records from sources, documents with signals, rejects, and their Arrow schemas."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

EXCERPT_CHARACTERS = 512


@dataclass(slots=True)
class Raw:
    """One record as a source found it: `text` or `html`, or the `problem` that kept it from being either.

    `position` is its place in its file, by which its id is made: a byte offset or a row, as the source's kind says.
    `size` is the bytes it took in the source, as far as the format tells. `language` is what the record says of
    itself, a hint.
    """

    position: int
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


def document_id(source: str, key: str, position: int) -> str:
    """An id made from where the document stands; ids of a file sort by place."""
    return f"{source}/{key}-{position:010x}"


EXTRACTED_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("url", pa.string()),
        ("license", pa.string()),
        ("language_hint", pa.string()),
        ("date", pa.string()),
        ("title", pa.string()),
        ("file", pa.string()),
        ("position", pa.int64()),
    ]
)
"""Documents as extraction leaves them. `file` is the input's location, `position` the place in it that the id holds:
a byte offset or a row, as the source's kind says."""

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
        ("file", pa.string()),
        ("position", pa.int64()),
    ]
)
"""The corpus: UTF-8 text and where it came from."""

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
        ("words", pa.int64()),
        ("language", pa.string()),
        ("file", pa.string()),
        ("position", pa.int64()),
    ]
)
"""One row for each removed document. `detail` is the kept document's id for duplicates, the identified language for
documents in other ones, an error's words for unreadable records; `bytes` is UTF-8 text where there was text, else the
record's size; `words` and `language` are null where they were not measured."""

SPANS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("begin", pa.int64()),
        ("bytes", pa.int64()),
        ("text", pa.string()),
    ]
)
"""One row for each piece that a rule cut out of a document that stays, or replaced in it: UTF-8 offset and length in
the text that the rule was given, and what stood there (null where that must not be kept)."""


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


SPAN_SCHEMA = pa.schema(
    [("row", pa.int64()), ("reason", pa.string()), ("begin", pa.int64()), ("bytes", pa.int64()), ("text", pa.string())]
)
"""What a rule cut out of documents or replaced in them: `row` in the batch, `begin` and `bytes` (UTF-8) in the text
that the rule was given, `text` what stood there (null where it must not be kept, as with private data)."""

REMOVALS_SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("detail", pa.string()),
    ]
)
"""Documents of a unit that a stage over the whole corpus removes, ascending: their rows in the unit's documents file,
and why. Of a duplicate `detail` is the id of the copy that stays."""
