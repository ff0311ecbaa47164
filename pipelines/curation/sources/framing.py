"""Where records stand in WARC and ARC files: their bounds, checked, and what lies between them.

A record's Content-Length is believed only if what follows it is the end of a record: two line breaks, another header
or the end of the file. One that lies costs its own record, and reading goes on at the next header; bytes that belong
to no record are a frame of their own, so that nothing of a file goes unmentioned.
"""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO

from pipelines.reading import Held, Readable

GZIP = b"\x1f\x8b\x08"
HEADER_BYTES = 1 << 16
STEP_BYTES = 1 << 16
LINE_BYTES = 1024
HELD_BYTES = 1 << 24
_PADDING = b"\r\n\0"
_WARC = re.compile(rb"WARC/\d\.\d+[ \t]*\r?\n")
_SECOND = re.compile(rb"\nWARC/\d\.\d+[ \t]*\r?\n")
_ARC = re.compile(rb"(?P<url>[A-Za-z][\w+.-]{1,20}:[^\n]*?) \S+ (?P<date>\d{12,14}) [^\n]*?(?P<length>-?\d+)\r?\n")
_LENGTH = re.compile(rb"\nContent-Length:[ \t]*(\d{1,18})[ \t]*\r?\n", re.IGNORECASE)
_NAMES = re.compile(rb"\nWARC-(?:Type|Record-ID):", re.IGNORECASE)
_BLANK = re.compile(rb"\r?\n\r?\n")
_STARTS = re.compile(rb"(?:\A|\n)(?=WARC/\d|[A-Za-z][\w+.-]{1,20}:[^\n]* \d{12,14} )")


@dataclass(slots=True)
class Frame:
    """A record's header and content, or the `problem` that kept them from being told apart."""

    position: int
    size: int
    head: bytes = b""
    body: bytes = b""
    problem: str | None = None
    detail: str = ""


@dataclass(slots=True)
class _Header:
    """A header found at a place: its bytes (blank line included) and the length it declares, None if it has none."""

    size: int
    length: int | None
    arc: bool = False


def frames(file: Readable, begin: int, end: int, most: int) -> Iterator[Frame]:
    """Records of an uncompressed file from `begin` up to the first that surely begins at `end` or later.

    `begin` is 0 or what `first_record` found. Records of more than `most` bytes are not held.
    """
    place = begin
    while True:
        place = _past_padding(file, place)
        if place >= file.size:
            return
        header = _header(file, place)
        if header is None:
            after = next_record(file, place + 1, file.size)
            stop = file.size if after is None else after
            yield Frame(place, stop - place, problem="no_record", detail=f"{stop - place} bytes that are no record")
            place = stop
            continue
        if place >= end and _is_sure(file, place, header):
            return
        frame = _frame(file, place, header, most)
        # Before the frame is given away: who takes it may change it.
        place += frame.size
        yield frame


def _frame(file: Readable, place: int, header: _Header, most: int) -> Frame:
    content = place + header.size
    stop = content + (header.length or 0)
    if header.length is not None and _leads_to_end(file, place, header):
        if header.length > most:
            found = f"a record of {header.length} bytes, more than {most}"
            return Frame(place, stop - place, problem="record_bytes", detail=found)
        return Frame(place, stop - place, file.at(place, header.size), file.at(content, header.length))
    after = next_record(file, place + 1, file.size)
    if header.length is None:
        problem, what = "no_length", "a header without a length"
    elif after is None and stop > file.size:
        problem, what = "truncated", f"Content-Length {header.length}, the file ends after {file.size - content}"
    else:
        problem, what = "wrong_length", f"Content-Length {header.length} does not lead to the end of a record"
    stop = file.size if after is None else after
    return Frame(place, stop - place, problem=problem, detail=what)


def first_record(file: Readable, begin: int, end: int) -> int | None:
    """Where a split at bytes [begin, end) begins to read: at the first header that is a record's for sure, if any.

    A blank line stands before it (ARC: a line break), and its length leads to the end of a record. A page that shows
    a header has not both, unless it shows a whole record; a damaged record may not have them, and is read with the
    one before it.
    """
    return next((place for place, header in _headers(file, begin, end) if _is_sure(file, place, header)), None)


def next_record(file: Readable, begin: int, end: int) -> int | None:
    """Where the first header at bytes [begin, end) stands that looks like a record's beginning, after damage.

    It is at the start of a line, names a type or an id and a length, and either a blank line stands before it or its
    length leads to the end of a record.
    """
    for place, header in _headers(file, begin, end):
        if _after_blank_line(file, place) or _leads_to_end(file, place, header):
            return place
    return None


def _headers(file: Readable, begin: int, end: int) -> Iterator[tuple[int, _Header]]:
    """Headers with a length that stand at the start of a line at bytes [begin, end)."""
    place = max(0, begin - 1)
    while place < end:
        window = file.at(place, STEP_BYTES + LINE_BYTES)
        for found in _STARTS.finditer(window):
            at = place + found.end()
            if at >= end or found.start() >= STEP_BYTES:
                break
            if at < begin or (found.start() == found.end() and at > 0):
                continue
            header = _header(file, at)
            if header is not None and header.length is not None:
                yield at, header
        place += STEP_BYTES


def _is_sure(file: Readable, place: int, header: _Header) -> bool:
    if header.length is None or not (header.arc or _after_blank_line(file, place)):
        return False
    return _ends_record(file, place + header.size + header.length)


def _leads_to_end(file: Readable, place: int, header: _Header) -> bool:
    """Whether a header's length is right, as far as can be told: after a record of ARC there is one line break."""
    if header.length is None:
        return False
    stop = place + header.size + header.length
    return _ends_record(file, stop) or (header.arc and file.at(stop, 1) == b"\n")


def _header(file: Readable, place: int) -> _Header | None:
    """The header at a place, if there is one that does not run into another one."""
    data = file.at(place, LINE_BYTES)
    if line := _ARC.match(data):
        length = int(line["length"])
        return _Header(line.end(), length if length >= 0 else None, arc=True)
    if not _WARC.match(data):
        return None
    blank = _BLANK.search(data)
    if blank is None:
        data = file.at(place, HEADER_BYTES)
        blank = _BLANK.search(data)
        if blank is None:
            return None
    data = data[: blank.end()]
    if not _NAMES.search(data) or _SECOND.search(data):
        return None
    named = _LENGTH.search(data)
    return _Header(len(data), int(named.group(1)) if named else None)


def _after_blank_line(file: Readable, place: int) -> bool:
    return place == 0 or file.at(max(0, place - 4), min(4, place)).endswith((b"\r\n\r\n", b"\n\n"))


def _ends_record(file: Readable, place: int) -> bool:
    """Whether two line breaks, the end of the file or a header follows a record that ends here."""
    if place >= file.size:
        return place == file.size
    after = file.at(place, 4)
    if after.startswith((b"\r\n\r\n", b"\n\n")):
        return True
    start = _past_padding(file, place)
    return start >= file.size or (start > place and start - place <= 4 and _header(file, start) is not None)


def _past_padding(file: Readable, place: int) -> int:
    while place < file.size:
        data = file.at(place, 4096)
        left = data.lstrip(_PADDING)
        place += len(data) - len(left)
        if left:
            break
    return place


def begins_plain(file: Readable) -> bool:
    """Whether a file begins with a record's header: it is not compressed, whatever its name says."""
    return _header(file, _past_padding(file, 0)) is not None


def members(file: Readable, begin: int, end: int, most: int) -> Iterator[Frame]:
    """Records of a gzip file from `begin` up to the first member at `end` or later that begins with a header.

    `begin` is 0 or what `next_member` found. Each member holds one record, as a rule. A record's position is its
    member's; further ones in one member are numbered on from there.
    """
    place = begin
    while True:
        place = _past_padding(file, place)
        if place >= file.size:
            return
        if file.at(place, 3) != GZIP:
            stop = _next_or_end(file, place + 1)
            yield Frame(
                place, stop - place, problem="no_record", detail=f"{stop - place} bytes that are no gzip member"
            )
            place = stop
            continue
        if place >= end and begins_record(file, place):
            return
        with Inflated(file, place) as content:
            stop = place + content.compressed if content.problem is None else _next_or_end(file, place + 1)
            yield from _numbered(content, place, stop, most)
        place = stop


def _numbered(content: Inflated, place: int, stop: int, most: int) -> Iterator[Frame]:
    """The frames of a member at bytes [place, stop). The last one of a broken member is given up."""
    waiting: Frame | None = None
    number = 0
    for frame in frames(content, 0, content.size, most):
        if waiting is not None:
            yield waiting
        frame.position, frame.size = place + number, stop - place if number == 0 else 0
        waiting = frame
        number += 1
    if content.problem is not None:
        known = content.size if waiting is not None else 0
        detail = f"its gzip member is {content.problem[0]}: {content.problem[1]}; {known} bytes of it are known"
        last = max(0, number - 1)
        waiting = Frame(place + last, stop - place if last == 0 else 0, problem=content.problem[0], detail=detail)
    if waiting is not None:
        yield waiting


def _next_or_end(file: Readable, place: int) -> int:
    after = next_member(file, place, file.size)
    return file.size if after is None else after


def next_member(file: Readable, begin: int, end: int) -> int | None:
    """Where the first gzip member at bytes [begin, end) stands that begins with a record's header."""
    place = begin
    while place < end:
        window = file.at(place, STEP_BYTES + len(GZIP))
        at = window.find(GZIP)
        while 0 <= at < STEP_BYTES and place + at < end:
            if begins_record(file, place + at):
                return place + at
            at = window.find(GZIP, at + 1)
        place += STEP_BYTES
    return None


def begins_record(file: Readable, place: int) -> bool:
    """Whether a gzip member here begins with a record's header."""
    try:
        data = zlib.decompressobj(31).decompress(file.at(place, 4096), 1024)
    except zlib.error:
        return False
    return _header(Held(data.lstrip(_PADDING)), 0) is not None or _WARC.match(data) is not None


class Inflated:
    """What a gzip member holds, as a `Readable`: in memory, or in a temporary file where it is large.

    `compressed` is the member's size, `problem` what is wrong with it: ("truncated" or "broken_gzip", details).
    """

    def __init__(self, file: Readable, place: int) -> None:
        self.problem: tuple[str, str] | None = None
        self._content: IO[bytes] = tempfile.SpooledTemporaryFile(HELD_BYTES)  # noqa: SIM115 - closed by __exit__
        member = zlib.decompressobj(31)
        at = 0
        while not member.eof and self.problem is None:
            data = file.at(place + at, STEP_BYTES)
            at += len(data)
            if not data:
                self.problem = "truncated", f"the file ends after {at} bytes of it"
            try:
                while data and not member.eof:
                    self._content.write(member.decompress(data, STEP_BYTES))
                    data = member.unconsumed_tail
            except zlib.error as error:
                self.problem = "broken_gzip", str(error)
        self.compressed = at - len(member.unused_data)
        self.size = self._content.tell()

    def __enter__(self) -> Inflated:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()

    def at(self, place: int, count: int) -> bytes:
        """The bytes [place, place + count), fewer only at the end."""
        self._content.seek(place)
        return self._content.read(count)
