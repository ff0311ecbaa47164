"""Rows on their way from many tasks to many others: each task leaves one file, cut by who reads it.

A reader takes its slice of every file by two range reads, so nothing is opened more often than (files x readers), and
both numbers are kept near the square root of the data (`scale`). A file is there whole or not at all, and every slice
carries a checksum: what was written is what is read.

File: 8 bytes of magic · uint64 slices S · (uint64 end in the data, uint64 xxh3-64)[S] · the slices one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import xxhash
from numba import uint64
from numpy.typing import NDArray

from pipelines import storage
from pipelines.curation.dedup.sorting import arranged
from pipelines.kernels import njit
from pipelines.reading import StoredFile

MAGIC = b"GWSLICE1"
_HEAD = len(MAGIC) + 8
_TABLE = 1 << 16
"""So many bytes are read first: the table of slices, or most of it."""
_PIECE = 1 << 20
"""So many bytes of a slice are read at a time: a file that was read holds the last of them for a while."""

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


def read(location: str, number: int) -> bytearray:
    """One slice.

    Raises:
        DamagedError: the file is cut short or its bytes are others.
    """
    with StoredFile(location, window=_TABLE) as file:
        first = max(0, number - 1)
        asked = 16 * (number - first + 1)
        head = file.at(0, _HEAD)
        count = int.from_bytes(head[len(MAGIC) :], "little")
        entries = file.at(_HEAD + 16 * first, asked)
        if head[: len(MAGIC)] != MAGIC or number >= count or len(entries) < asked:
            raise DamagedError(f"{location}: expected a file of slices with a slice {number}; remove it and run again")
        table = np.frombuffer(entries, "<u8").reshape(-1, 2)
        begin, end = (int(table[0, 0]) if number else 0), int(table[-1, 0])
        begin += _HEAD + 16 * count
        end += _HEAD + 16 * count
        data = bytearray()
        while part := file.at(begin + len(data), min(_PIECE, end - begin - len(data))):
            data += part
    if len(data) != end - begin or xxhash.xxh3_64_intdigest(data) != int(table[-1, 1]):
        raise DamagedError(f"{location}: slice {number} is damaged; remove the file and run again")
    return data


def write_rows(location: str, rows: Rows, targets: NDArray[np.int64], slices: int) -> None:
    """Write rows, those with targets[i] = s in slice s, in their order."""
    ends = np.cumsum(np.bincount(targets, minlength=slices))
    ordered = arranged(rows, targets, ends).astype("<u8", copy=False)
    write(location, [ordered[end - size : end].data for end, size in zip(ends, np.diff(ends, prepend=0), strict=True)])


def read_rows(locations: Sequence[str], number: int, width: int) -> Rows:
    """A slice of several files as rows, one file after another, in memory of their own."""
    rows = np.empty((0, width), np.uint64)
    for location in locations:
        extend(rows, np.frombuffer(read(location, number), "<u8").reshape(-1, width))
    return rows


def extend(rows: Rows, more: Rows) -> None:
    """Put rows behind rows that own their memory, which no other array may be a view of: it is moved, not copied."""
    end = len(rows)
    rows.resize((end + len(more), rows.shape[1]), refcheck=False)
    rows[end:] = more


def write_tables(location: str, tables: Iterable[pa.Table]) -> None:
    """Write a table a slice."""
    write(location, [serialized(table) for table in tables])


def write_table(location: str, table: pa.Table, targets: NDArray[np.int64], slices: int) -> None:
    """Write a table, rows with targets[i] = s in slice s, in their order."""
    ends = np.cumsum(np.bincount(targets, minlength=slices)).tolist()
    ordered = table.take(pa.array(np.argsort(targets, kind="stable")))
    write_tables(location, (ordered.slice(begin, end - begin) for begin, end in pairwise([0, *ends])))


def read_tables(locations: Sequence[str], number: int, schema: pa.Schema) -> pa.Table:
    """A slice of several files as one table."""
    tables = [pa.ipc.open_stream(read(location, number)).read_all() for location in locations]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def serialized(table: pa.Table) -> memoryview:
    """A table as one of `write_tables`' slices."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


@njit("int64[::1](Array(uint64, 1, 'A', readonly=True), uint64)", cache=True, nogil=True)
def by_range(keys: NDArray[np.uint64], slices: int) -> NDArray[np.int64]:
    """The slice of each key, when the numbers below 2^64 are cut into ranges of equal length."""
    out = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        out[i] = ((keys[i] >> uint64(32)) * slices) >> uint64(32)
    return out


def overlapping(number: int, slices: int, others: int) -> range:
    """Which of `others` ranges meet range `number` of `slices`."""
    return range(number * others // slices, -(-(number + 1) * others // slices))


MOST_ROWS = 32_000_000
"""Of two numbers: half a gigabyte, the most that a task is given. While it works it holds up to three times that."""


@dataclass(frozen=True)
class Scale:
    """How the work is cut: into groups of so many documents, and slices of so many rows.

    Rows are of two numbers; of wider ones there are fewer.
    """

    documents: int
    rows: int

    @staticmethod
    def of(documents: int) -> Scale:
        """By the square root: 10^6 documents give 16 groups, 10^10 give 5,000 (and 4,375 slices at 14 rows each)."""
        return Scale(
            documents=min(max(documents // 64, 1 << 16), 2_000_000), rows=min(max(documents // 4, 1 << 21), MOST_ROWS)
        )

    def group(self, numbers: int) -> int:
        """How many documents are a group at most, where the rows of one are so many numbers together."""
        return max(1, min(self.documents, 2 * MOST_ROWS // max(1, numbers)))

    def slices(self, rows: int, width: int) -> int:
        """Into how many slices rows are cut."""
        return max(1, -(-rows * width // (2 * self.rows)))
