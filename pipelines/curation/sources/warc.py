"""WARC and ARC files, plain or compressed: the HTML pages among the responses, and the texts of WET files.

Every response, conversion or HTML resource becomes a document or a reject, and so does what cannot be told apart into
records (`framing`); requests, metadata, revisits and the like are not documents. Positions are the offsets of records
in the file. A plain file is cut before record headers, one that is compressed a record at a time before gzip members;
one that is a single compressed stream is read by its first split alone, and its records are numbered.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from pipelines.curation.documents import Raw
from pipelines.curation.sources import framing
from pipelines.curation.sources.base import Source, Split, take_hints
from pipelines.curation.sources.framing import GZIP, Frame
from pipelines.reading import COMPRESSED, Decompressed, StoredFile

HTML_TYPES = ("text/html", "application/xhtml+xml")
_TYPE = re.compile(rb"\nWARC-Type:[ \t]*(\w+)", re.IGNORECASE)
_ARC = re.compile(rb"(https?:[^\n]*?) \S+ (\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)? ")
_CHUNK = re.compile(rb"\r?\n\r?\n(?:[ \t]*[0-9a-fA-F]+[ \t]*(?:;[^\n]*)?\r?\n)?")
_CHARSET = re.compile(r"charset=[\"']?([\w-]+)")
_COPY_BYTES = 1 << 20


class WarcSource(Source, frozen=True):
    """Web pages out of WARC files: status 200, HTML; or the plain text of conversion records (WET)."""

    cuttable: ClassVar[bool] = True

    kind: Literal["warc"] = "warc"
    max_page_bytes: int = Field(
        default=10_000_000, ge=1, description="so much is read of a page, decompressed, before it is rejected"
    )

    def cuttable_file(self, path: str) -> bool:
        """All but those compressed as a whole."""
        return not path.endswith((".zst", ".bz2"))

    def read(self, split: Split) -> Iterator[Raw]:
        """Pages and texts in the order of the file. What is broken in a file is a `problem` of its own."""
        with StoredFile(split.path) as file:
            for frame in self._frames(file, split):
                if (raw := _page(frame, self.max_page_bytes)) is not None:
                    yield raw

    def _frames(self, file: StoredFile, split: Split) -> Iterator[Frame]:
        whole = next((suffix for suffix in COMPRESSED if split.path.endswith(suffix)), None)
        most = self.max_page_bytes
        if file.at(0, len(GZIP)) == GZIP or (whole == ".gz" and not framing.begins_plain(file)):
            first, records = framing.next_member, framing.members
        elif whole in (None, ".gz"):
            first, records = framing.first_record, framing.frames
        else:
            yield from _unpacked(file, whole, most)
            return
        begin = 0 if split.begin == 0 else first(file, split.begin, split.end)
        if begin is not None:
            yield from records(file, begin, split.end, most)


def _unpacked(file: StoredFile, suffix: str, most: int) -> Iterator[Frame]:
    """Records of a file that is compressed as a whole, by way of a temporary file."""
    content = Decompressed(file, suffix)
    with tempfile.NamedTemporaryFile() as unpacked:
        while data := content.read(_COPY_BYTES):
            unpacked.write(data)
        unpacked.flush()
        with StoredFile(unpacked.name) as plain:
            yield from framing.frames(plain, 0, plain.size, most)
            if content.problem is not None:
                yield Frame(plain.size, 0, problem="broken_file", detail=content.problem)


def _page(frame: Frame, most: int) -> Raw | None:
    """A frame as a document or a reject; None where it is neither."""
    if frame.problem is not None:
        return Raw(frame.position, frame.size, problem=frame.problem, detail=frame.detail)
    kind = _TYPE.search(frame.head)
    if kind is not None:
        handler = _KINDS.get(kind.group(1).lower())
        return handler(frame, most) if handler is not None else None
    if (arc := _ARC.match(frame.head)) is None:
        return None
    url, *date = (part.decode("utf-8", "replace") for part in arc.groups(b"00"))
    header = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:arc:{frame.position}>\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: {'-'.join(date[:3])}T{':'.join(date[3:])}Z\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(frame.body)}\r\n\r\n"
    )
    frame.head = header.encode()
    return _response(frame, most)


def _record(frame: Frame) -> tuple[Any, Raw]:
    """The record as fastwarc sees it, and what every kind of document has."""
    from fastwarc.warc import ArchiveIterator

    record = next(iter(ArchiveIterator(io.BytesIO(frame.head + frame.body), parse_http=False)))
    headers = record.headers
    raw = Raw(frame.position, frame.size, url=headers.get("WARC-Target-URI"), date=headers.get("WARC-Date"))
    return record, raw


def _response(frame: Frame, most: int) -> Raw:
    record, raw = _record(frame)
    try:
        # The payload is decoded later, so that a broken encoding is told from a broken header.
        record.parse_http(auto_decode="all" if _begins_with_chunk(frame.body) else "content")
    except (OSError, ValueError) as error:
        raw.problem, raw.detail = "no_http", f"{type(error).__name__}: {error}"[:300]
        return raw
    http = record.http_headers
    if http is None or http.status_code is None:
        raw.problem, raw.detail = "no_http", "no status line"
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
    take_hints(raw, fetched=True)
    return raw


def _begins_with_chunk(http: bytes) -> bool:
    """Whether an HTTP message's payload begins as a chunk does: many crawlers join chunks and keep the header."""
    found = _CHUNK.search(http)
    return found is not None and found.group(0).strip() != b""


def _conversion(frame: Frame, most: int) -> Raw:
    record, raw = _record(frame)
    languages = record.headers.get("WARC-Identified-Content-Language")
    raw.language = languages.split(",")[0] if languages else None
    data = _payload(record, raw, most)
    if data is not None:
        raw.text = data.decode("utf-8", "replace")
    return raw


def _resource(frame: Frame, most: int) -> Raw | None:
    record, raw = _record(frame)
    kind, _, parameters = (record.headers.get("Content-Type") or "").lower().partition(";")
    if kind.strip() not in HTML_TYPES:
        return None
    charset = _CHARSET.search(parameters)
    raw.charset = charset.group(1) if charset else None
    raw.html = _payload(record, raw, most)
    take_hints(raw, fetched=True)
    return raw


_KINDS: dict[bytes, Callable[[Frame, int], Raw | None]] = {
    b"response": _response,
    b"conversion": _conversion,
    b"resource": _resource,
}


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
