"""Documents of each class: read a piece of a file at a time, chosen by hash, split into training and held-out ones.

A document is the line that `TextSettings` makes of it, and what becomes of it depends on this line, the settings and
the seed alone: not on the order of files, how they are cut, or how often it occurs. A line that occurs in two classes
is left out; one that occurs twice in a class counts once, so none can be both learned from and held out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash
from pydantic import TypeAdapter, ValidationError

from pipelines import storage
from pipelines.curation.classifiers.settings import ClassifierSettings, Input, Label, Labelled
from pipelines.curation.classifiers.texts import LABEL
from pipelines.curation.documents import make_storable
from pipelines.curation.sources import JsonlSource, ParquetSource, Split

PIECE_BYTES = 64_000_000
EXAMPLES_SCHEMA = pa.schema(
    [("rank", pa.uint64()), ("label", pa.string()), ("source", pa.string()), ("line", pa.large_string())]
)
"""`rank` is the hash of the line by which examples are chosen and ordered, `source` the input it comes from."""

_LABEL: TypeAdapter[str] = TypeAdapter(Label)


class Piece(NamedTuple):
    """A part of a file to be read: which of the settings' inputs, what reads it, and where."""

    number: int
    kind: str
    split: Split


_KINDS: dict[str, type[JsonlSource] | type[ParquetSource]] = {"jsonl": JsonlSource, "parquet": ParquetSource}


def pieces(settings: ClassifierSettings) -> list[Piece]:
    """All that is to be read. Raises FileNotFoundError for a path that matches nothing."""
    found = []
    for number, (_, one) in enumerate(settings.inputs()):
        for path in one.paths:
            files = storage.expand(path)
            if not files:
                raise FileNotFoundError(f"{path}: no files for the input {one.shown!r}")
            tables = any(name.endswith((".parquet", ".pq")) for name in files)
            kind = "parquet" if tables else "jsonl"
            found += [Piece(number, kind, split) for split in _source(kind, one, path).splits(PIECE_BYTES)]
    return found


def _source(kind: str, one: Input, path: str) -> JsonlSource | ParquetSource:
    fields = {"text": one.field}
    if isinstance(one, Labelled):
        # Readers of rows know a document's own keys only: the class travels as the title, as text.
        fields["title"] = one.label
    return _KINDS[kind](name="input", paths=[path], fields=fields)


class Lowest:
    """The examples of a class with the lowest ranks; memory holds at most twice as many as are wanted."""

    def __init__(self, most: int | None) -> None:
        self._most, self._bar = most, 1 << 64
        self._rows: dict[int, tuple[str, str]] = {}

    def add(self, rank: int, source: str, line: str) -> None:
        """An example; the same line again changes nothing but that the first source by name is its own."""
        if rank < self._bar:
            self._rows[rank] = min(self._rows.get(rank, (source, line)), (source, line))
            if self._most is not None and len(self._rows) >= 2 * self._most:
                self._prune(self._most)

    def _prune(self, most: int) -> None:
        ranks = sorted(self._rows)
        self._bar = ranks[most]
        for rank in ranks[most:]:
            del self._rows[rank]

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """(rank, source, line), the lowest rank first."""
        for rank in sorted(self._rows)[: self._most]:
            yield rank, *self._rows[rank]


@dataclass
class Reading:
    """What was read: the examples of each class, and for each input (by number) what became of its rows."""

    classes: dict[str, Lowest] = field(default_factory=dict)
    counts: dict[int, Counter[str]] = field(default_factory=dict)
    """`rows`, and of these `unreadable`, `empty` (no word) and `other` (of no class)."""
    problems: dict[int, str] = field(default_factory=dict)
    """The first by its words."""

    def add(self, other: Reading, most: int | None) -> None:
        """Take in what was read elsewhere."""
        for label, lowest in other.classes.items():
            mine = self.classes.setdefault(label, Lowest(most))
            for rank, source, line in lowest.rows():
                mine.add(rank, source, line)
        for number, counts in other.counts.items():
            self.counts.setdefault(number, Counter()).update(counts)
        for number, problem in other.problems.items():
            self.problems[number] = min(problem, self.problems.get(number, problem))


def read(piece: Piece, settings: ClassifierSettings, seed: int) -> Reading:
    """A piece's examples."""
    label, one = settings.inputs()[piece.number]
    found = Reading()
    counts = found.counts.setdefault(piece.number, Counter())
    for raw in _source(piece.kind, one, piece.split.path).read(piece.split):
        counts["rows"] += 1
        problem = raw.problem or ("no_text" if raw.text is None else None)
        make_storable(raw)
        name = label
        if problem is None and isinstance(one, Labelled):
            name, problem = _label(one, raw.title)
        if problem is not None:
            counts["unreadable"] += 1
            words = f"{piece.split.path}: {problem}, {raw.detail or f'position {raw.position}'}"
            found.problems[piece.number] = min(words, found.problems.get(piece.number, words))
        elif name is None:
            counts["other"] += 1
        elif not (line := settings.text.line(raw.text or "")):
            counts["empty"] += 1
        else:
            rank = xxhash.xxh3_64_intdigest(line.encode(), seed=seed)
            found.classes.setdefault(name, Lowest(settings.max_documents)).add(rank, one.shown, line)
    return found


def _label(one: Labelled, value: str | None) -> tuple[str | None, str | None]:
    """(class, problem) of a row."""
    try:
        name = one.label_of(value)
    except ValueError:
        return None, f"{one.label} is {value!r}, not a number"
    if name is None:
        return None, None
    try:
        return _LABEL.validate_python(name), None
    except ValidationError:
        return None, f"{one.label} is {value!r}, which cannot name a class; `labels` can give it a name"


class Examples(NamedTuple):
    """Rows of `EXAMPLES_SCHEMA` sorted by rank; `ambiguous` lines occurred in several classes."""

    train: pa.Table
    held_out: pa.Table
    ambiguous: int


def split(reading: Reading, settings: ClassifierSettings, seed: int) -> Examples:
    """What is learned from and what is held out."""
    rows = sorted(
        (rank, label, source, line) for label, lowest in reading.classes.items() for rank, source, line in lowest.rows()
    )
    times = Counter(row[0] for row in rows)
    ambiguous = {rank for rank, count in times.items() if count > 1}
    sides: tuple[list[Any], list[Any]] = [], []
    for row in rows:
        if row[0] not in ambiguous:
            held = xxhash.xxh3_64_intdigest(row[3].encode(), seed=seed + 1) < settings.held_out * 2.0**64
            sides[held].append(row)
    train, held_out = (_table(side) for side in sides)
    return Examples(train, held_out, len(ambiguous))


def _table(rows: list[Any]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[] for _ in EXAMPLES_SCHEMA]
    arrays = [pa.array(column, each.type) for column, each in zip(columns, EXAMPLES_SCHEMA, strict=True)]
    return pa.table(arrays, schema=EXAMPLES_SCHEMA)


def write_lines(examples: pa.Table, path: str) -> str:
    """Write examples, in their order, as fastText reads them; returns the SHA-256 of the file."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for batch in examples.to_batches(max_chunksize=4096):
            rows = zip(batch["label"].to_pylist(), batch["line"].to_pylist(), strict=True)
            data = "".join(f"{LABEL}{label} {line}\n" for label, line in rows).encode()
            digest.update(data)
            file.write(data)
    return digest.hexdigest()
