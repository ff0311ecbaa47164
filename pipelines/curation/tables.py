"""Parquet files written atomically: rows go to a temporary name, which becomes the real one when all are there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage

TEMPORARY = ".tmp-"
BATCH_ROWS = 1000
BATCH_CHARACTERS = 8_000_000


class TableWriter:
    """A context manager: `add` rows, as tuples in the schema's order; leaving it without an error publishes the file.

    The bytes depend on the rows and their order alone: row groups end at fixed counts of rows and characters.
    """

    def __init__(self, location: str, schema: pa.Schema, text_column: int | None = None) -> None:
        self.location, self.schema, self.text_column = location, schema, text_column
        self.rows = 0
        self._fs, self._path = storage.filesystem(location)
        parent, name = os.path.split(self._path)
        self._temporary = os.path.join(parent, f"{TEMPORARY}{os.getpid()}-{name}")
        self._pending: list[Sequence[Any]] = []
        self._characters = 0

    def __enter__(self) -> TableWriter:
        self._fs.create_dir(os.path.dirname(self._path), recursive=True)
        self._stream = self._fs.open_output_stream(self._temporary)
        self._writer = pq.ParquetWriter(self._stream, self.schema, compression="zstd", compression_level=3)
        return self

    def add(self, row: Sequence[Any]) -> None:
        """One row."""
        self._pending.append(row)
        self.rows += 1
        if self.text_column is not None:
            self._characters += len(row[self.text_column] or "")
        if len(self._pending) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            columns = zip(*self._pending, strict=True)
            arrays = [pa.array(column, type=field.type) for column, field in zip(columns, self.schema, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=self.schema))
        self._pending, self._characters = [], 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        self._stream.close()
        if kind is None:
            self._fs.move(self._temporary, self._path)
        else:
            self._fs.delete_file(self._temporary)


def batches(location: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A Parquet file's rows, a batch at a time."""
    fs, path = storage.filesystem(location)
    with pq.ParquetFile(path, filesystem=fs) as table:
        yield from table.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)


def row_count(location: str) -> int:
    """Rows of a Parquet file, from its footer."""
    fs, path = storage.filesystem(location)
    with pq.ParquetFile(path, filesystem=fs) as table:
        return int(table.metadata.num_rows)


def describe(location: str) -> dict[str, Any]:
    """Bytes and SHA-256 of a file."""
    fs, path = storage.filesystem(location)
    digest, size = hashlib.sha256(), 0
    with fs.open_input_stream(path, compression=None) as stream:
        while chunk := stream.read(4_000_000):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}
