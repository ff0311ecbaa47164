"""WARC files, plain or compressed: the HTML pages among the responses.

Every response record becomes a document or a reject; requests, metadata and the like are not documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source

HTML_TYPES = ("text/html", "application/xhtml+xml")


class WarcSource(Source, frozen=True):
    """Web pages out of WARC files: status 200, HTML."""

    kind: Literal["warc"] = "warc"
    max_page_bytes: int = Field(
        default=10_000_000, ge=1, description="so much is read of a page, decompressed, before it is rejected"
    )

    def read(self, path: str, file: int) -> Iterator[Raw]:
        """Responses in the order of the file; `row` counts responses. A broken file ends with a `problem`."""
        from fastwarc.warc import ArchiveIterator, WarcRecordType

        fs, inner = storage.filesystem(path)
        row = 0
        with fs.open_input_file(inner) as stream:
            try:
                # Payloads are decoded below, so that a broken encoding costs one page and not the file's rest.
                records = ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=False)
                for record in records:
                    yield _page(record, file, row, self.max_page_bytes)
                    row += 1
            except OSError as error:
                yield Raw(file, row, 0, problem="broken_file", detail=f"{path}: {error}"[:300])


def _page(record: Any, file: int, row: int, most: int) -> Raw:
    headers = record.headers
    raw = Raw(file, row, record.content_length, url=headers.get("WARC-Target-URI"), date=headers.get("WARC-Date"))
    try:
        record.parse_http(auto_decode="all")
    except (OSError, ValueError) as error:
        raw.problem, raw.detail = "no_http", f"{type(error).__name__}: {error}"[:300]
        return raw
    http = record.http_headers
    if http is None:
        raw.problem = "no_http"
        return raw
    if http.status_code != 200:
        raw.problem, raw.detail = "http_status", str(http.status_code)
        return raw
    kind = (record.http_content_type or "").lower()
    if kind not in HTML_TYPES:
        raw.problem, raw.detail = "content_type", kind
        return raw
    raw.charset = record.http_charset
    try:
        raw.html = record.reader.read(most + 1)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the payload's own compression is broken; natively that may be a panic
        raw.problem, raw.detail = "http_decoding", f"{type(error).__name__}: {error}"[:300]
    else:
        if len(raw.html) > most:
            raw.html, raw.problem, raw.detail = None, "page_bytes", f"more than {most}"
    return raw
