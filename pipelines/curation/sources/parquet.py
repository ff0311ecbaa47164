"""Parquet files with a `text` or an `html` column: n row groups count as n equal parts of the file when it is cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source, Split
from pipelines.curation.sources.jsonl import COLUMNS, from_mapping
from pipelines.reading import StoredFile

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class ParquetSource(Source, frozen=True):
    """Rows with `text` or `html`, and any of `url, title, date, language, license`. Positions are rows."""

    cuttable: ClassVar[bool] = True

    kind: Literal["parquet"] = "parquet"
    fields: dict[str, str] = Field(default={}, description="our name -> the file's column, where it is another one")
    batch_rows: int = Field(default=1000, ge=1, description="so many rows are held at a time")

    def accepts(self, path: str) -> bool:
        """Parquet by the file's name."""
        return path.endswith((".parquet", ".pq"))

    def read(self, split: Split) -> Iterator[Raw]:
        """A document a row, read a batch at a time. A broken row group costs what of it was not read yet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = {name: self.fields.get(name, name) for name in COLUMNS}
        with StoredFile(split.path) as stored:
            stream = _Stream(stored)
            try:
                table = pq.ParquetFile(stream)
                there = table.schema_arrow.names
                if not {names["text"], names["html"]}.intersection(there):
                    wanted = f"expected a column {names['text']!r} or {names['html']!r}"
                    raise pa.ArrowInvalid(f"{wanted}, found {', '.join(there)}")
            except (OSError, pa.ArrowException) as error:
                stream.raise_failure()
                if split.begin == 0:
                    yield Raw(0, 0, problem="broken_file", detail=f"{split.path}: {error}"[:300])
                return
            row, groups = 0, table.metadata.num_row_groups
            for group in range(groups):
                rows = table.metadata.row_group(group).num_rows
                # Not by the offsets in the footer: pyarrow aborts the process where a damaged one has wrong columns.
                if split.begin <= split.size * group // groups < split.end:
                    yield from self._group(split.path, stream, table, group, row, names)
                row += rows

    def _group(
        self, path: str, stream: _Stream, table: pq.ParquetFile, group: int, row: int, names: dict[str, str]
    ) -> Iterator[Raw]:
        import pyarrow as pa

        last = row + table.metadata.row_group(group).num_rows - 1
        columns = [column for column in names.values() if column in table.schema_arrow.names]
        try:
            for batch in table.iter_batches(self.batch_rows, [group], columns=columns, use_threads=False):
                for value in _values(batch):
                    if isinstance(value, UnicodeDecodeError):
                        yield Raw(row, 0, problem="not_utf8", detail=f"row {row}: byte {value.start}")
                    else:
                        yield from_mapping(Raw(row, _size(value, names)), value, names)
                    row += 1
        except (OSError, pa.ArrowException) as error:
            stream.raise_failure()
            yield Raw(row, 0, problem="broken_file", detail=f"{path}: rows {row} to {last}: {error}"[:300])


class _Stream:
    """What pyarrow asks of a Python file. It keeps the storage's own error, which is no fault of the content."""

    closed = False

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._place = 0
        self._failure: OSError | None = None

    def raise_failure(self) -> None:
        """Raises what the storage raised, if it did."""
        if self._failure is not None:
            raise self._failure

    def read(self, count: int = -1) -> bytes:
        """The next bytes; all that are left by default."""
        try:
            data = self._file.at(self._place, count if count >= 0 else self._file.size)
        except OSError as error:
            self._failure = error
            raise
        self._place += len(data)
        return data

    def seek(self, place: int, whence: int = 0) -> int:
        """Where `read` goes on, from the beginning, from here or from the end."""
        self._place = place + (0, self._place, self._file.size)[whence]
        return self._place

    def tell(self) -> int:
        """Where `read` goes on."""
        return self._place

    def close(self) -> None:
        """Nothing: the file is its opener's."""


def _values(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    """Rows as mappings, or what is wrong with a row's strings."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for row in range(batch.num_rows):
            try:
                yield batch.slice(row, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield error


def _size(value: dict[str, object], names: dict[str, str]) -> int:
    body = value.get(names["text"]) or value.get(names["html"]) or ""
    return len(body if isinstance(body, bytes) else str(body).encode("utf-8", "replace"))
