"""Where documents come from. A new source is one file here and one line in `AnySource`."""

from typing import Annotated

from pydantic import Field

from pipelines.curation.sources.base import Source
from pipelines.curation.sources.code import CodeSource
from pipelines.curation.sources.jsonl import JsonlSource
from pipelines.curation.sources.parquet import ParquetSource
from pipelines.curation.sources.text import TextSource
from pipelines.curation.sources.warc import WarcSource

AnySource = Annotated[
    WarcSource
    | JsonlSource
    | ParquetSource
    | TextSource
    | CodeSource,
    Field(discriminator="kind"),
]  # fmt: skip

__all__ = ["AnySource", "CodeSource", "JsonlSource", "ParquetSource", "Source", "TextSource", "WarcSource"]
