"""Parquet files with a `text` or an `html` column. A split has the row groups whose first byte is in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source, Split
from pipelines.curation.sources.jsonl import COLUMNS, from_mapping


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
        """A document a row, read a batch at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        fs, inner = storage.filesystem(split.path)
        names = {name: self.fields.get(name, name) for name in COLUMNS}
        row = 0
        try:
            with pq.ParquetFile(inner, filesystem=fs) as table:
                there = table.schema_arrow.names
                columns = [column for column in names.values() if column in there]
                if not {names["text"], names["html"]}.intersection(there):
                    wanted = f"expected a column {names['text']!r} or {names['html']!r}"
                    raise pa.ArrowInvalid(f"{wanted}, found {', '.join(there)}")
                for group in range(table.metadata.num_row_groups):
                    described = table.metadata.row_group(group)
                    first = described.column(0)
                    offset = first.dictionary_page_offset or first.data_page_offset
                    if not split.begin <= offset < split.end:
                        row += described.num_rows
                        continue
                    rows = table.iter_batches(self.batch_rows, [group], columns=columns, use_threads=False)
                    for batch in rows:
                        for value in batch.to_pylist():
                            yield from_mapping(Raw(row, _size(value, names)), value, names)
                            row += 1
        except (OSError, pa.ArrowInvalid) as error:
            if split.begin == 0 or row:
                yield Raw(row, 0, problem="broken_file", detail=f"{split.path}: {error}"[:300])


def _size(value: dict[str, object], names: dict[str, str]) -> int:
    body = value.get(names["text"]) or value.get(names["html"]) or ""
    return len(body if isinstance(body, bytes) else str(body).encode("utf-8", "replace"))
