"""Reading a curated corpus: units of work, the split of a document, the tokenizer's sample."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipelines import storage
from pipelines.buffers import utf8
from pipelines.tokens.store import UNKNOWN

COLUMNS = ("id", "text", "source", "language")
_SPLIT_SALT, _SAMPLE_SALT, _ORDER_SALT = 0x73706C6974, 0x73616D706C65, 0x6F72646572
_BATCH_BYTES = 4 << 20


@dataclass(frozen=True)
class Unit:
    """A range of rows of one corpus file: what one task tokenizes.

    Attributes:
        ordinal: its place in the corpus; names its run.
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


class HeldOut(NamedTuple):
    """Shares of the documents that are kept from training."""

    validation: float
    test: float


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
    # A file's bytes are those on disk; text has as many more everywhere as it has on the whole.
    scale = values["bytes"] / max(1, sum(file["bytes"] for file in values["files"]))
    for file in values["files"]:
        rows, size = int(file["rows"]), round(file["bytes"] * scale)
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


def read(unit: Unit) -> Iterator[pa.RecordBatch]:
    """The unit's documents in order, a few megabytes at a time, with the columns `COLUMNS` as large strings.

    Raises:
        ValueError: the file has other rows or columns than the manifest promised, or texts that are none.
    """
    fs, path = storage.filesystem(unit.file)
    with fs.open_input_file(path) as source:
        file = pq.ParquetFile(source)
        if file.metadata.num_rows != unit.rows:
            raise ValueError(f"{unit.file}: {file.metadata.num_rows} rows, the corpus manifest says {unit.rows}")
        names = file.schema_arrow.names
        missing = set(COLUMNS) - set(names)
        if missing:
            raise ValueError(f"{unit.file}: no column {', '.join(sorted(missing))}")
        base = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if base < unit.stop and base + rows > unit.start:
                for batch in _read_group(file, group, unit.start - base, unit.stop - base):
                    yield _checked(batch, unit)
            base += rows


def _read_group(file: pq.ParquetFile, group: int, start: int, stop: int) -> Iterator[pa.RecordBatch]:
    about = file.metadata.row_group(group)
    size = max(about.column(column).total_uncompressed_size for column in range(about.num_columns))
    rows = max(1, min(about.num_rows, about.num_rows * _BATCH_BYTES // max(1, size)))
    at = 0
    for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=list(COLUMNS), use_threads=False):
        low, high = max(start - at, 0), min(stop - at, len(batch))
        at += len(batch)
        if low < high:
            yield batch.slice(low, high - low)


def _checked(batch: pa.RecordBatch, unit: Unit) -> pa.RecordBatch:
    columns = {name: batch.column(name).cast(pa.large_string()) for name in COLUMNS}
    languages = columns["language"]
    columns["language"] = pc.if_else(pc.equal(pc.fill_null(languages, ""), ""), UNKNOWN, languages)
    for name, column in columns.items():
        if column.null_count:
            raise ValueError(f"{unit.file}: {column.null_count} documents without {name}")
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{unit.file}: {name}: not UTF-8 ({error})") from None
    return pa.record_batch(columns)


def text_hashes(texts: pa.LargeStringArray) -> npt.NDArray[np.uint64]:
    """What decides the split of each text."""
    return _hashes(texts, _SPLIT_SALT)


def order_hashes(identities: pa.LargeStringArray) -> npt.NDArray[np.uint64]:
    """The place of each document in its group's order: uniform, and nothing but the document's id decides it."""
    return _hashes(identities, _ORDER_SALT)


def splits_of(hashes: npt.NDArray[np.uint64], held_out: HeldOut) -> npt.NDArray[np.int64]:
    """The split of each document, as places in `SPLITS`: by its text alone, so copies of a text share a split."""
    bounds = [int(held_out.validation * 2**64), int((held_out.validation + held_out.test) * 2**64)]
    return np.array([1, 2, 0])[np.searchsorted(np.array(bounds, np.uint64), hashes, side="right")]


def _hashes(texts: pa.LargeStringArray, salt: int) -> npt.NDArray[np.uint64]:
    offsets, data = utf8(texts)
    view, digest = data.data, xxhash.xxh3_64_intdigest
    found = (digest(view[begin:end], salt) for begin, end in itertools.pairwise(offsets.tolist()))
    return np.fromiter(found, np.uint64, len(texts))


def key_of(weights: Mapping[str, float], source: str, language: str) -> str | None:
    """The weight that holds for documents of a source and language: the closest one, None if there is none."""
    both = f"{source}/{language}"
    return both if both in weights else source if source in weights else None


def count(unit: Unit) -> pa.Table:
    """Bytes of text in the unit by source and language: columns source, language, bytes."""
    tables = [
        pa.table({"source": b["source"], "language": b["language"], "bytes": pc.binary_length(b["text"])})
        .group_by(["source", "language"])
        .aggregate([("bytes", "sum")])
        for b in read(unit)
    ]
    return pa.concat_tables(tables).rename_columns({"bytes_sum": "bytes"})


def sample_rates(available: Mapping[str, int], weights: Mapping[str, float], wanted: int) -> dict[str, float]:
    """Key -> probability with which a document is in the tokenizer's sample.

    Shares follow the weights; what a key lacks is shared among the others.

    Args:
        available: bytes of text by key.
        weights: by key.
        wanted: bytes of text in the sample.
    """
    open_keys = {key for key, weight in weights.items() if weight > 0 and available[key]}
    rates = dict.fromkeys(available, 0.0)
    left = float(wanted)
    while open_keys:
        scale = left / sum(weights[key] for key in open_keys)
        full = {key for key in open_keys if weights[key] * scale >= available[key]}
        if not full:
            rates |= {key: weights[key] * scale / available[key] for key in open_keys}
            break
        rates |= dict.fromkeys(full, 1.0)
        left -= sum(available[key] for key in full)
        open_keys -= full
    return rates


def sample(unit: Unit, rates: Mapping[str, float], held_out: HeldOut) -> pa.Table:
    """The unit's training documents that are in the tokenizer's sample: columns hash, text.

    Chosen by the hash of the text, so the sample does not depend on how the corpus is cut into units.
    """
    parts = [pa.table({"hash": pa.array([], pa.uint64()), "text": pa.array([], pa.large_string())})]
    for batch in read(unit):
        keys = [key_of(rates, *pair) for pair in zip(*_lists(batch, ["source", "language"]), strict=True)]
        limits = np.array([0.0 if key is None else rates[key] for key in keys]) * 2.0**64
        hashes = _hashes(batch["text"], _SAMPLE_SALT)
        chosen = (hashes < limits) & (splits_of(text_hashes(batch["text"]), held_out) == 0)
        rows = pa.array(np.flatnonzero(chosen))
        parts.append(pa.table({"hash": pa.array(hashes).take(rows), "text": batch["text"].take(rows)}))
    return pa.concat_tables(parts)


def _lists(batch: pa.RecordBatch, names: Sequence[str]) -> list[list[str]]:
    return [batch[name].to_pylist() for name in names]
