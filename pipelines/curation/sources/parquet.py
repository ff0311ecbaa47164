"""Parquet files with a `text` or an `html` column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source
from pipelines.curation.sources.jsonl import FIELDS, from_mapping


class ParquetSource(Source, frozen=True):
    """Rows with `text` or `html`, and any of `url, title, date, language, license`."""

    kind: Literal["parquet"] = "parquet"
    batch_rows: int = 1000

    def accepts(self, path: str) -> bool:
        """Parquet by the file's name."""
        return path.endswith(".parquet")

    def read(self, path: str, file: int) -> Iterator[Raw]:
        """A document a row, read a batch at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        fs, inner = storage.filesystem(path)
        row = 0
        try:
            with pq.ParquetFile(inner, filesystem=fs) as table:
                columns = [name for name in ("text", "html", *FIELDS) if name in table.schema_arrow.names]
                for batch in table.iter_batches(self.batch_rows, columns=columns, use_threads=False):
                    for value in batch.to_pylist():
                        yield from_mapping(Raw(file, row, _size(value)), value)
                        row += 1
        except (OSError, pa.ArrowInvalid) as error:
            yield Raw(file, row, 0, problem="broken_file", detail=f"{path}: {error}"[:300])


def _size(value: dict[str, object]) -> int:
    body = value.get("text") or value.get("html") or ""
    return len(body if isinstance(body, bytes) else str(body).encode("utf-8", "replace"))
