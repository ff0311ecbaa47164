"""Rows on their way from many tasks to many others: each task leaves one file, cut by who reads it.

A reader takes its slice of every file by two range reads, so nothing is opened more often than (files x readers), and
both numbers are kept near the square root of the data (`scale`). A file is there whole or not at all, and every slice
carries a checksum: what was written is what is read.

File: 8 bytes of magic · uint64 slices S · (uint64 end in the data, uint64 xxh3-64)[S] · the slices one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from pipelines import storage
from pipelines.reading import StoredFile

MAGIC = b"GWSLICE1"
_HEAD = len(MAGIC) + 8

Rows = NDArray[np.uint64]
"""uint64 [n, w]."""


class DamagedError(OSError):
    """A slice is not what was written."""


def write(location: str, slices: Iterable[bytes | memoryview]) -> None:
    """Write a file, slice 0 first."""
    parts = list(slices)
    table = np.empty((len(parts), 2), "<u8")
    end = 0
    for number, part in enumerate(parts):
        end += memoryview(part).nbytes
        table[number] = end, xxhash.xxh3_64_intdigest(part)
    head = MAGIC + len(parts).to_bytes(8, "little") + table.tobytes()
    storage.write_parts(location, [head, *parts])


def read(location: str, number: int) -> bytes:
    """One slice.

    Raises:
        DamagedError: the file is cut short or its bytes are others.
    """
    with StoredFile(location, window=0) as file:
        first = max(0, number - 1)
        asked = 16 * (number - first + 1)
        head = file.at(0, _HEAD)
        count = int.from_bytes(head[len(MAGIC) :], "little")
        entries = file.at(_HEAD + 16 * first, asked)
        if head[: len(MAGIC)] != MAGIC or number >= count or len(entries) < asked:
            raise DamagedError(f"{location}: expected a file of slices with a slice {number}; remove it and run again")
        table = np.frombuffer(entries, "<u8").reshape(-1, 2)
        begin, end = (int(table[0, 0]) if number else 0), int(table[-1, 0])
        data = file.at(_HEAD + 16 * count + begin, end - begin)
    if len(data) != end - begin or xxhash.xxh3_64_intdigest(data) != int(table[-1, 1]):
        raise DamagedError(f"{location}: slice {number} is damaged; remove the file and run again")
    return bytes(data)


def write_rows(location: str, rows: Rows, targets: NDArray[np.int64], slices: int) -> None:
    """Write rows, those with targets[i] = s in slice s, in their order."""
    kind = np.uint16 if slices <= 1 << 16 else np.int64  # numpy sorts 16-bit numbers by radix
    order = np.argsort(targets.astype(kind), kind="stable")
    ordered = np.ascontiguousarray(rows[order], "<u8")
    ends = np.cumsum(np.bincount(targets, minlength=slices))
    write(location, [ordered[end - size : end].data for end, size in zip(ends, np.diff(ends, prepend=0), strict=True)])


def read_rows(locations: Sequence[str], number: int, width: int) -> Rows:
    """A slice of several files as rows, one file after another."""
    parts = [np.frombuffer(read(location, number), "<u8").reshape(-1, width) for location in locations]
    return np.concatenate(parts) if parts else np.zeros((0, width), np.uint64)


def write_tables(location: str, tables: Iterable[pa.Table]) -> None:
    """Write a table a slice."""
    write(location, [_serialized(table) for table in tables])


def read_tables(locations: Sequence[str], number: int, schema: pa.Schema) -> pa.Table:
    """A slice of several files as one table."""
    tables = [pa.ipc.open_stream(read(location, number)).read_all() for location in locations]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def _serialized(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def by_range(keys: NDArray[np.uint64], slices: int) -> NDArray[np.int64]:
    """The slice of each key, when the numbers below 2^64 are cut into ranges of equal length."""
    return ((keys >> np.uint64(32)) * np.uint64(slices) >> np.uint64(32)).astype(np.int64)


def overlapping(number: int, slices: int, others: int) -> range:
    """Which of `others` ranges meet range `number` of `slices`."""
    return range(number * others // slices, -(-(number + 1) * others // slices))


@dataclass(frozen=True)
class Scale:
    """How the work is cut: into groups of so many documents, and slices of so many rows."""

    documents: int
    rows: int

    @staticmethod
    def of(documents: int) -> Scale:
        """By the square root: 10^6 documents give 16 groups, 10^10 give 5,000 (and 4,700 slices at 15 rows each).

        No task holds more than 2 million documents' keys or 32 million rows: half a gigabyte.
        """
        return Scale(
            documents=min(max(documents // 64, 1 << 16), 2_000_000), rows=min(max(documents // 4, 1 << 21), 32_000_000)
        )

    def slices(self, rows: int) -> int:
        """Into how many slices rows are cut."""
        return max(1, -(-rows // self.rows))
