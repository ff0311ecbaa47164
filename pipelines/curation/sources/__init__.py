"""Where documents come from. A new source is one file here and one line in `AnySource`."""

from typing import Annotated

from pydantic import Field

from pipelines.curation.sources.base import Source, Split
from pipelines.curation.sources.code import CodeSource
from pipelines.curation.sources.html import HtmlSource
from pipelines.curation.sources.jsonl import JsonlSource
from pipelines.curation.sources.parquet import ParquetSource
from pipelines.curation.sources.text import TextSource
from pipelines.curation.sources.warc import WarcSource
from pipelines.curation.sources.wikipedia import WikipediaSource

AnySource = Annotated[
    WarcSource
    | JsonlSource
    | ParquetSource
    | TextSource
    | HtmlSource
    | CodeSource
    | WikipediaSource,
    Field(discriminator="kind"),
]  # fmt: skip

__all__ = [
    "AnySource",
    "CodeSource",
    "HtmlSource",
    "JsonlSource",
    "ParquetSource",
    "Source",
    "Split",
    "TextSource",
    "WarcSource",
    "WikipediaSource",
]
