"""Reading a curated corpus: units of work, the split of a document, the tokenizer's sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipelines import storage

COLUMNS = ("id", "text", "source", "language")
_SPLIT_SALT, _SAMPLE_SALT = 0x73706C6974, 0x73616D706C65
_BATCH_ROWS = 512


@dataclass(frozen=True)
class Unit:
    """A range of rows of one corpus file: what one task tokenizes.

    Attributes:
        ordinal: its place in the corpus; names the shards.
        file: location of the Parquet file.
        sha256: of the file, from the corpus manifest.
        rows: the file's rows.
        start, stop: the range.
        bytes: about how much text it holds.
    """

    ordinal: int
    file: str
    sha256: str
    rows: int
    start: int
    stop: int
    bytes: int


def manifest(corpus: str) -> dict[str, Any]:
    """A corpus's manifest.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it lacks what tokenizing needs.
    """
    location = storage.join(corpus, "manifest.json")
    if not storage.exists(location):
        raise FileNotFoundError(f"{location}: no finished corpus here; jobs.curate makes one")
    values: dict[str, Any] = storage.read_json(location)
    for key in ("documents", "bytes", "sources", "files"):
        if key not in values:
            raise ValueError(f"{location}: no {key!r}: not a corpus manifest")
    return values


def units(corpus: str, values: dict[str, Any], unit_bytes: int) -> list[Unit]:
    """Cut a corpus into units of about `unit_bytes` bytes of text, in the manifest's order; empty files have none."""
    planned: list[Unit] = []
    for file in values["files"]:
        rows, size = int(file["rows"]), int(file["bytes"])
        parts = min(rows, max(1, round(size / unit_bytes)))
        location, first = storage.join(corpus, file["path"]), len(planned)
        planned += [
            Unit(
                ordinal=first + part,
                file=location,
                sha256=file["sha256"],
                rows=rows,
                start=rows * part // parts,
                stop=rows * (part + 1) // parts,
                bytes=size // parts,
            )
            for part in range(parts)
        ]
    return planned


def read(unit: Unit) -> Iterator[pa.Table]:
    """The unit's documents in order, as tables of a few hundred rows with the columns `COLUMNS`.

    Raises:
        ValueError: the file has other rows or columns than the manifest promised.
    """
    fs, path = storage.filesystem(unit.file)
    with fs.open_input_file(path) as source:
        file = pq.ParquetFile(source)
        if file.metadata.num_rows != unit.rows:
            raise ValueError(f"{unit.file}: {file.metadata.num_rows} rows, the corpus manifest says {unit.rows}")
        missing = set(COLUMNS) - set(file.schema_arrow.names)
        if missing:
            raise ValueError(f"{unit.file}: no column {', '.join(sorted(missing))}")
        base = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if base < unit.stop and base + rows > unit.start:
                yield from _read_group(file, group, unit.start - base, unit.stop - base)
            base += rows


def _read_group(file: pq.ParquetFile, group: int, start: int, stop: int) -> Iterator[pa.Table]:
    at = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=list(COLUMNS)):
        low, high = max(start - at, 0), min(stop - at, len(batch))
        at += len(batch)
        if low < high:
            yield pa.Table.from_batches([batch.slice(low, high - low)]).select(list(COLUMNS))


def split_of(text: bytes, validation_fraction: float) -> str:
    """The split of a document: by its text alone, so copies of one text never stand on both sides."""
    held_out = xxhash.xxh3_64_intdigest(text, seed=_SPLIT_SALT) < validation_fraction * 2**64
    return "validation" if held_out else "train"


def sample_rates(available: dict[str, int], weights: dict[str, float], wanted: int) -> dict[str, float]:
    """Source -> probability with which a document is in the tokenizer's sample.

    Shares follow the weights (empty: the bytes there are); what a source lacks is shared among the others.

    Raises:
        ValueError: a weight for a source that the corpus does not have.
    """
    unknown = set(weights) - set(available)
    if unknown:
        raise ValueError(f"tokenizer.source_weights: no source {min(unknown)!r} in the corpus; {sorted(available)}")
    weights = weights or {source: float(size) for source, size in available.items()}
    open_sources = {source for source, weight in weights.items() if weight > 0 and available[source]}
    rates = dict.fromkeys(available, 0.0)
    left = float(wanted)
    while open_sources:
        scale = left / sum(weights[source] for source in open_sources)
        full = {source for source in open_sources if weights[source] * scale >= available[source]}
        if not full:
            rates |= {source: weights[source] * scale / available[source] for source in open_sources}
            break
        rates |= dict.fromkeys(full, 1.0)
        left -= sum(available[source] for source in full)
        open_sources -= full
    return rates


def sample(unit: Unit, rates: dict[str, float], validation_fraction: float) -> pa.Table:
    """The unit's training documents that are in the tokenizer's sample: columns ordinal, text.

    Chosen by the hash of the text, so the sample does not depend on how the corpus is cut into units.
    """
    texts: list[str] = []
    for table in read(unit):
        for text, source in zip(table["text"].to_pylist(), table["source"].to_pylist(), strict=True):
            data = text.encode()
            chosen = xxhash.xxh3_64_intdigest(data, seed=_SAMPLE_SALT) < rates.get(source, 0.0) * 2**64
            if chosen and split_of(data, validation_fraction) == "train":
                texts.append(text)
    return pa.table(
        {"ordinal": pa.array([unit.ordinal] * len(texts), pa.int64()), "text": pa.array(texts, pa.large_string())}
    )
