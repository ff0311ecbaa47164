"""From records to texts: character sets, HTML to main text, limits that no page exceeds.

`Extractor` does it for a stream of records, pages in a child process (`guard`); `page_text` for one page, here.
"""

from pipelines.curation.extraction.decoding import decode
from pipelines.curation.extraction.guard import Extractor
from pipelines.curation.extraction.pages import page_text
from pipelines.curation.extraction.settings import VERSION, Extracted, ExtractionSettings

__all__ = ["VERSION", "Extracted", "ExtractionSettings", "Extractor", "decode", "page_text"]
