"""From records to texts: character sets, HTML to main text, limits that no page exceeds.

`Extractor` does it for a stream of records, pages in a child process (`guard`); `page_text` for one page, here.
`page_hints` reads what a page says of itself.
"""

from pipelines.curation.extraction.decoding import decode
from pipelines.curation.extraction.guard import Extractor
from pipelines.curation.extraction.hints import HEAD_BYTES, Hints, page_hints
from pipelines.curation.extraction.pages import page_text
from pipelines.curation.extraction.settings import VERSION, Extracted, ExtractionSettings

__all__ = [
    "HEAD_BYTES",
    "VERSION",
    "Extracted",
    "ExtractionSettings",
    "Extractor",
    "Hints",
    "decode",
    "page_hints",
    "page_text",
]
