"""What every source of documents has: its files, how they are cut into splits, and how a split is read."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, NamedTuple
from urllib.parse import urljoin

import xxhash
from pydantic import BaseModel, Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.extraction import HEAD_BYTES, page_hints
from pipelines.curation.rules import Rules
from pipelines.storage import Location


class Split(NamedTuple):
    """A part of a file: the records that begin at bytes [begin, end)."""

    path: str
    key: str
    """Names the file in ids: a hash of its path below the source's location."""
    size: int
    """Bytes of the whole file."""
    changed: int
    """Time of the file's last change, in nanoseconds, where the filesystem tells."""
    begin: int
    end: int

    @property
    def whole(self) -> bool:
        """Whether the split is all of its file."""
        return self.begin == 0 and self.end == self.size


class Source(BaseModel, extra="forbid", frozen=True):
    """Files of one kind and what is to be known about them.

    A subclass adds `kind: Literal["its name"]`, its own settings, and `read`; `cuttable` if it can read from the
    middle of a file.
    """

    cuttable: ClassVar[bool] = False
    hinted: ClassVar[bool] = False
    """Whether a document's own hint, where it has one, is its language; `language` is that of the others."""

    name: str = Field(description="names the documents: their ids begin with it", pattern=r"^[a-z0-9][a-z0-9-]*$")
    paths: list[Location] = Field(min_length=1, description="files, directories or globs")
    license: str | None = Field(default=None, description="where a record does not name its own")
    language: str | None = Field(default=None, description="fixed for all documents; none: it is identified")
    rules: Rules | None = Field(default=None, description="instead of the recipe's rules")

    def accepts(self, path: str) -> bool:
        """Whether a file below the paths belongs to this source."""
        return True

    def cuttable_file(self, path: str) -> bool:
        """Whether a file can be read from its middle; by its name."""
        return self.cuttable

    @abstractmethod
    def read(self, split: Split) -> Iterator[Raw]:
        """The records that begin in a split, in order; a bad record is a `Raw` with its `problem`.

        However a file is cut, its splits together give each record once, with the same position.
        """

    def files(self) -> list[Split]:
        """All files of this source, each as one split, sorted by path.

        Raises:
            FileNotFoundError: a path matches no file.
            ValueError: two files have the same path below two of the source's locations.
        """
        found: dict[str, Split] = {}
        for pattern in self.paths:
            root = storage.root(pattern)
            matches = [info for info in storage.listing(pattern) if self.accepts(info.location)]
            if not matches:
                raise FileNotFoundError(f"{pattern}: no files for the source {self.name!r}")
            for info in matches:
                relative = info.location.removeprefix(root).lstrip("/") or os.path.basename(info.location)
                key = f"{xxhash.xxh3_64_intdigest(relative.encode()):016x}"
                found[info.location] = Split(info.location, key, info.size, info.changed, 0, info.size)
        keys: dict[str, str] = {}
        for path, split in found.items():
            if keys.setdefault(split.key, path) != path:
                raise ValueError(
                    f"source {self.name!r}: {keys[split.key]} and {path} have the same path below their locations, so "
                    "their documents would have the same ids; make them two sources"
                )
        return sorted(found.values())

    def splits(self, most_bytes: int) -> Iterator[Split]:
        """The files, those that can be cut into pieces of at most so many bytes."""
        for file in self.files():
            if file.size <= most_bytes or not self.cuttable_file(file.path):
                yield file
                continue
            pieces = -(-file.size // most_bytes)
            edges = [file.size * piece // pieces for piece in range(pieces + 1)]
            for begin, end in pairwise(edges):
                yield file._replace(begin=begin, end=end)

    def reading(self) -> dict[str, object]:
        """The settings that decide what is read: not the rules, which come later."""
        return self.model_dump(mode="json", exclude={"rules", "paths"})


def take_hints(raw: Raw, canonical: bool = False, fetched: bool = False) -> None:
    """Fill in what a page says of itself, where its record does not: language, date, licence and address.

    Args:
        raw: a record, changed in place.
        canonical: whether the address that a page gives itself wins over the record's.
        fetched: whether the record's date is when the page was fetched; when it was published says more of its text.
    """
    if not raw.html:
        return
    head = raw.html[:HEAD_BYTES]
    hints = page_hints(head if isinstance(head, bytes) else head.encode("utf-8", "replace"))
    if hints.canonical is not None and (canonical or raw.url is None):
        raw.url = _absolute(raw.url, hints.canonical)
    raw.language = raw.language or hints.language
    if hints.date is not None and (fetched or raw.date is None):
        raw.date = hints.date
    if raw.license is None and hints.license is not None:
        raw.license = _absolute(raw.url, hints.license)


def _absolute(base: str | None, link: str) -> str:
    try:
        return urljoin(base or "", link)
    except ValueError:
        return link
