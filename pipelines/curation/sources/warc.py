"""WARC and ARC files, plain or compressed: the HTML pages among the responses, and the texts of WET files.

Every response or conversion record becomes a document or a reject; requests, metadata and the like are not
documents. Positions are the offsets of records in the file. A plain file is cut before record headers, a file that is
compressed a record at a time before gzip members; one that is a single stream is read by its first split alone.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source, Split

HTML_TYPES = ("text/html", "application/xhtml+xml")
GZIP = b"\x1f\x8b\x08"
_HEADER = re.compile(rb"WARC/\d\.\d+\r?\n|[a-z][a-z0-9+.-]{1,20}://\S+ \S+ \d{14} ")
_LENGTH = re.compile(
    rb"\r?\nContent-Length:\s*(\d+).*?\r?\n\r?\n|\A\S+ \S+ \d{14} .* (\d+)\r?\n", re.IGNORECASE | re.DOTALL
)
_LOOK = 1 << 16


class WarcSource(Source, frozen=True):
    """Web pages out of WARC files: status 200, HTML; or the plain text of conversion records (WET)."""

    cuttable: ClassVar[bool] = True

    kind: Literal["warc"] = "warc"
    max_page_bytes: int = Field(
        default=10_000_000, ge=1, description="so much is read of a page, decompressed, before it is rejected"
    )

    def cuttable_file(self, path: str) -> bool:
        """All but those in formats without members to look for."""
        return not path.endswith((".zst", ".lz4"))

    def read(self, split: Split) -> Iterator[Raw]:
        """Responses and conversions in the order of the file. A broken file ends with a `problem`."""
        from fastwarc.warc import ArchiveIterator, WarcRecordType

        fs, inner = storage.filesystem(split.path)
        kinds = WarcRecordType.response | WarcRecordType.conversion
        with fs.open_input_file(inner) as stream:
            begin = first_record(stream, split)
            single = begin == 0 and is_one_stream(stream)
            last = begin
            while begin is not None and (single or begin < split.end):
                stream.seek(begin)
                try:
                    # Payloads are decoded below, so that a broken encoding costs one page and not the file's rest.
                    records = ArchiveIterator(stream, record_types=kinds, parse_http=False)
                    for number, record in enumerate(records):
                        place = number if single else record.stream_pos
                        if place >= split.end and not single:
                            return
                        last = place
                        yield _page(record, place, self.max_page_bytes)
                    return
                except (KeyboardInterrupt, SystemExit, GeneratorExit):
                    raise
                except BaseException as error:  # natively that may be a panic
                    where = max(last or 0, begin) + 1
                    yield Raw(where, 0, problem="broken_file", detail=f"{split.path}: {error}"[:300])
                    # After what cannot be read, go on with the next record that can be found.
                    begin = None if single else first_record(stream, split._replace(begin=where + 1))
                    last = begin


def is_one_stream(stream: Any) -> bool:
    """Whether a gzip file's first member holds more than one record, so that none but the first has a place in it.

    Such a file is not as the format wants it, and its records are numbered instead.
    """
    stream.seek(0)
    member = zlib.decompressobj(31)
    data, wanted = b"", 1 << 30
    while len(data) < wanted and not member.eof:
        chunk = stream.read(_LOOK)
        if not chunk:
            break
        try:
            data += member.decompress(chunk)
        except zlib.error:
            return False
        if wanted == 1 << 30 and (length := _LENGTH.search(data)):
            wanted = length.end() + int(length.group(1) or length.group(2)) + 5
    return len(data) >= wanted


def first_record(stream: Any, split: Split) -> int | None:
    """Where the first record that begins at or after a split's beginning stands; None if none begins in it."""
    if split.begin == 0:
        return 0
    stream.seek(0)
    compressed = stream.read(3) == GZIP
    place = split.begin
    while place < split.end:
        stream.seek(place)
        window = stream.read(_LOOK + 64)
        at = 0
        while True:
            at = window.find(GZIP, at) if compressed else _next_header(window, at)
            if at < 0 or at >= _LOOK or place + at >= split.end:
                break
            if _begins_record(stream, place + at, compressed):
                return place + at
            at += 1
        place += _LOOK
    return None


def _next_header(window: bytes, at: int) -> int:
    found = _HEADER.search(window, at)
    return found.start() if found else -1


def _begins_record(stream: Any, place: int, compressed: bool) -> bool:
    if compressed:
        stream.seek(place)
        try:
            data = zlib.decompressobj(31).decompress(stream.read(4096), 512)
        except zlib.error:
            return False
        return _HEADER.match(data) is not None
    # A header line in the middle of a page's text has no blank line before it.
    stream.seek(max(0, place - 4))
    before = stream.read(min(4, place))
    return before.endswith((b"\r\n\r\n", b"\n\n"))


def _page(record: Any, place: int, most: int) -> Raw:
    from fastwarc.warc import WarcRecordType

    headers = record.headers
    raw = Raw(place, record.content_length, url=headers.get("WARC-Target-URI"), date=headers.get("WARC-Date"))
    if record.record_type == WarcRecordType.conversion:
        languages = headers.get("WARC-Identified-Content-Language")
        raw.language = languages.split(",")[0] if languages else None
        data = _payload(record, raw, most)
        if data is not None:
            raw.text = data.decode("utf-8", "replace")
        return raw
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
    raw.html = _payload(record, raw, most)
    return raw


def _payload(record: Any, raw: Raw, most: int) -> bytes | None:
    try:
        data: bytes = record.reader.read(most + 1)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the payload's own compression is broken; natively that may be a panic
        raw.problem, raw.detail = "http_decoding", f"{type(error).__name__}: {error}"[:300]
        return None
    if len(data) > most:
        raw.problem, raw.detail = "page_bytes", f"more than {most}"
        return None
    return data
