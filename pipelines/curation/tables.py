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
BATCH_ROWS = 4096
BATCH_CHARACTERS = 8_000_000
"""A batch of documents, and so a row group, ends at so many rows or characters."""


class TableWriter:
    """A context manager: `add` rows, as tuples in the schema's order, or `write` whole batches.

    Leaving it without an error publishes the file. The bytes depend on the rows, their order and the batches alone:
    each batch is a row group, added rows are one for every `BATCH_ROWS`.
    """

    def __init__(self, location: str, schema: pa.Schema) -> None:
        self.location, self.schema = location, schema
        self.rows = 0
        self._fs, self._path = storage.filesystem(location)
        parent, name = os.path.split(self._path)
        self._temporary = os.path.join(parent, f"{TEMPORARY}{os.getpid()}-{name}")
        self._pending: list[Sequence[Any]] = []

    def __enter__(self) -> TableWriter:
        try:
            self._fs.create_dir(os.path.dirname(self._path), recursive=True)
            self._stream = self._fs.open_output_stream(self._temporary)
            self._writer = pq.ParquetWriter(self._stream, self.schema, compression="zstd", compression_level=1)
        except OSError as error:
            raise storage.named(error, self.location) from None
        return self

    def add(self, row: Sequence[Any]) -> None:
        """One row."""
        self._pending.append(row)
        if len(self._pending) >= BATCH_ROWS:
            self._flush()

    def write(self, batch: pa.RecordBatch) -> None:
        """A batch of rows, after those added before."""
        self._flush()
        if batch.num_rows:
            try:
                self._writer.write_batch(batch, row_group_size=batch.num_rows)
            except OSError as error:
                raise storage.named(error, self.location) from None
            self.rows += batch.num_rows

    def _flush(self) -> None:
        if self._pending:
            columns = zip(*self._pending, strict=True)
            arrays = [pa.array(column, type=field.type) for column, field in zip(columns, self.schema, strict=True)]
            self._pending = []
            self.write(pa.record_batch(arrays, schema=self.schema))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
            self._writer.close()
            self._stream.close()
        except OSError as problem:
            # A full disk shows here too; the half-written file must not outlive the error that tells of it.
            self._discard()
            raise storage.named(problem, self.location) from None
        if kind is None:
            self._fs.move(self._temporary, self._path)
        else:
            self._discard()

    def _discard(self) -> None:
        try:
            self._fs.delete_file(self._temporary)
        except FileNotFoundError:
            return


def batches(location: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A Parquet file's rows, the batches as they were written."""
    fs, path = storage.filesystem(location)
    with pq.ParquetFile(path, filesystem=fs) as table:
        for group in range(table.metadata.num_row_groups):
            rows = table.read_row_group(group, columns=columns, use_threads=False).combine_chunks()
            yield from rows.to_batches()


def groups_with(location: str, columns: list[str], rows: Sequence[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The row groups of a Parquet file that hold any of some rows: (number of its first row, the rows)."""
    fs, path = storage.filesystem(location)
    with pq.ParquetFile(path, filesystem=fs) as table:
        base = 0
        for group in range(table.metadata.num_row_groups):
            size = table.metadata.row_group(group).num_rows
            if any(base <= row < base + size for row in rows):
                whole = table.read_row_group(group, columns=columns, use_threads=False).combine_chunks()
                yield base, whole.to_batches()[0]
            base += size


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
