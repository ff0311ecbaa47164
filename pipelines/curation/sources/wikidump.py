"""Pages of MediaWiki's XML dumps, cut out of a file before any of them is parsed.

A page begins at each `<page>`: MediaWiki escapes every `<` of a text. A part of a file has the pages that begin in it:

- of a plain file, at bytes [begin, end); positions are offsets;
- of a bzip2 file, in streams that begin at bytes [begin, end), as a multistream dump has one for each 100 pages; a
  page's position is its stream's offset plus its number among the pages that begin in the stream. Pages may go on in
  the next streams, as they do where a parallel compressor cut blindly. A file of one stream belongs to its first part;
- gzip and Zstandard files are not cut; positions are offsets in the uncompressed file.

A broken bzip2 stream costs what is behind the break, as does whatever stands between streams; reading goes on at the
next stream, so that other parts are the same.
"""

from __future__ import annotations

import bz2
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.curation.sources.base import Split
from pipelines.reading import COMPRESSED, Decompressed, Readable, StoredFile

HEAD_BYTES = 1 << 16
"""Where a file's <mediawiki> and <siteinfo> are looked for."""
_CHUNK_BYTES = 1 << 18
_STEP_BYTES = 1 << 12
"""What is fed to bzip2 at a time: an error costs the output of a step."""
_MOST_BYTES = 1 << 26
"""More than a block can expand to (46 MB), so that a block is checked before it is given, and a bound for many."""
_TAGS = re.compile(rb"</?page>")
_CLOSING_BYTES = len(b"</page>")
_STREAM = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90\0{4})", re.DOTALL)
"""A stream that begins with a block, or an empty one."""
_STREAM_BYTES = 14


@dataclass(slots=True)
class Piece:
    """A page as it stands in the file, or the `problem` that kept it from being cut out."""

    position: int
    size: int
    data: bytes = b""
    problem: str | None = None
    detail: str = ""
    opened: int = 0
    """Where the last page begins that begins here or before."""


def head(file: StoredFile, suffix: str | None) -> bytes:
    """The first bytes of a file, uncompressed: as many as can be had of `HEAD_BYTES`."""
    read = _reader(file, suffix)
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < HEAD_BYTES and (piece := read()):
        pieces.append(piece)
    return b"".join(pieces)[:HEAD_BYTES]


def pages(file: StoredFile, split: Split, most: int) -> Iterator[Piece]:
    """The pages of a part of a file, in order. Pages of more than `most` bytes are not held."""
    suffix = compression(split.path)
    if suffix == ".bz2":
        yield from _bzip2(file, split, most)
    elif suffix is None:
        yield from _plain(file, split, most)
    elif split.begin == 0:
        file.seek(0)
        content = Decompressed(file, suffix)
        end = 0
        for piece in _pieces(lambda: content.read(_CHUNK_BYTES), most, True, lambda at: False):
            end = piece.position + piece.size
            yield piece
        if content.problem is not None:
            yield Piece(end, 0, problem="broken_file", detail=content.problem)


def compression(path: str) -> str | None:
    """The suffix of a compressed file."""
    return next((suffix for suffix in COMPRESSED if path.endswith(suffix)), None)


def _reader(file: StoredFile, suffix: str | None) -> Callable[[], bytes]:
    if suffix == ".bz2":
        return _Streams(file, 0).read
    file.seek(0)
    content = file if suffix is None else Decompressed(file, suffix)
    return lambda: content.read(HEAD_BYTES)


def _plain(file: StoredFile, split: Split, most: int) -> Iterator[Piece]:
    file.seek(split.begin)
    for piece in _pieces(
        lambda: file.read(_CHUNK_BYTES), most, split.begin == 0, lambda at: split.begin + at >= split.end
    ):
        piece.position += split.begin
        yield piece


def _bzip2(file: Readable, split: Split, most: int) -> Iterator[Piece]:
    place = 0 if split.begin == 0 else next_stream(file, split.begin, split.end)
    while place is not None and place < split.end:
        content = _Streams(file, place)
        numbers: Counter[int] = Counter()
        beyond = _from_stream(content, split.end)
        for piece in _pieces(content.read, most, place == 0, beyond):
            stream = content.stream_of(piece.opened)
            piece.position = stream + numbers[stream]
            numbers[stream] += 1
            yield piece
        stream = content.stream
        if content.problem is None or stream >= split.end:
            return
        place = next_stream(file, content.stop, file.size)
        size = (file.size if place is None else place) - stream
        yield Piece(stream + numbers[stream], size, problem="broken_file", detail=content.problem)


def _from_stream(content: _Streams, end: int) -> Callable[[int], bool]:
    return lambda at: content.stream_of(at) >= end


def _pieces(read: Callable[[], bytes], most: int, start: bool, beyond: Callable[[int], bool]) -> Iterator[Piece]:
    """Cut content at its tags until a page begins that is `beyond` this part. Positions are offsets in the content.

    `start`: the content is a file's first, so that a page without its beginning is no other part's.
    """
    buffer = bytearray()
    base = scanned = opened = 0
    inside = False
    begin = 0 if start else None
    while data := read():
        buffer += data
        # Listed, as a buffer that is being searched cannot be cut.
        for at, opens in [(base + tag.start(), tag[0] == b"<page>") for tag in _TAGS.finditer(buffer, scanned - base)]:
            scanned = at + (_CLOSING_BYTES - 1 if opens else _CLOSING_BYTES)
            if opens:
                if inside and begin is not None:
                    yield _unclosed(begin, at, opened)
                if beyond(at):
                    return
                begin = opened = at
                inside = True
            elif begin is not None:
                size = scanned - begin
                if not inside:
                    yield Piece(begin, size, problem="page_xml", detail="a </page> without <page>", opened=opened)
                elif size > most:
                    detail = f"a page of {size} bytes, more than {most}"
                    yield Piece(begin, size, problem="page_bytes", detail=detail, opened=opened)
                else:
                    yield Piece(begin, size, bytes(buffer[begin - base : scanned - base]), opened=opened)
                begin, inside = scanned, False
        stop = base + len(buffer)
        scanned = max(scanned, stop - _CLOSING_BYTES + 1)
        held = begin if inside and begin is not None and stop - begin <= most else scanned
        del buffer[: held - base]
        base = held
    if inside and begin is not None:
        yield _unclosed(begin, base + len(buffer), opened)


def _unclosed(begin: int, stop: int, opened: int) -> Piece:
    return Piece(begin, stop - begin, problem="page_xml", detail="a <page> without </page>", opened=opened)


def next_stream(file: Readable, begin: int, end: int) -> int | None:
    """Where the first bzip2 stream at bytes [begin, end) stands."""
    place = begin
    while place < end:
        window = file.at(place, _CHUNK_BYTES + _STREAM_BYTES - 1)
        for found in _STREAM.finditer(window):
            at = place + found.start()
            if at < end and found.start() < _CHUNK_BYTES and _opened(file, at) is not None:
                return at
        place += _CHUNK_BYTES
    return None


class _Broken(Exception):
    """Compressed data that is not what it should be."""


class _Stream:
    """One bzip2 stream."""

    def __init__(self, file: Readable, place: int) -> None:
        self._file, self._at = file, place
        self._bzip2 = bz2.BZ2Decompressor()

    def read(self) -> bytes:
        """The next bytes; none at its end. Raises _Broken."""
        while not self._bzip2.eof:
            data = b""
            if self._bzip2.needs_input:
                data = self._file.at(self._at, _STEP_BYTES)
                if not data:
                    raise _Broken("the file ends within its compressed data")
                self._at += len(data)
            try:
                data = self._bzip2.decompress(data, _MOST_BYTES)
            except OSError as error:
                raise _Broken(f"compressed data is broken: {error}") from error
            if data:
                return data
        return b""

    @property
    def stop(self) -> int:
        """The place behind it, once it is read."""
        return self._at - len(self._bzip2.unused_data)


def _opened(file: Readable, place: int) -> tuple[_Stream, bytes] | None:
    """The stream at a place and its first bytes; None if its first block is none, whatever the mark there."""
    if not _STREAM.match(file.at(place, _STREAM_BYTES)):
        return None
    stream = _Stream(file, place)
    try:
        return stream, stream.read()
    except _Broken:
        return None


class _Streams:
    """bzip2 streams that follow each other, as one content."""

    def __init__(self, file: Readable, place: int) -> None:
        self._file = file
        self._open: _Stream | None = None
        self._size = 0
        self._begins: list[tuple[int, int]] = []
        """(offset in the content, place in the file) of the streams that pages may still begin in."""
        self.stream = place
        """The place of the last one."""
        self.stop = place
        """Where what is no stream begins; of a broken one, the place behind its mark."""
        self.problem: str | None = None
        """Why the content ends before the file."""

    def read(self) -> bytes:
        """The next bytes; none at the end."""
        data = b""
        while not data:
            try:
                data = self._next() if self._open is None else self._open.read()
            except _Broken as error:
                self.problem, self.stop = str(error), self.stream + 1
            if self._open is None or self.problem is not None:
                return b""
            if not data:
                self.stop, self._open = self._open.stop, None
        self._size += len(data)
        return data

    def stream_of(self, offset: int) -> int:
        """The place of the stream that an offset of the content lies in. Offsets do not go back."""
        while len(self._begins) > 1 and self._begins[1][0] <= offset:
            del self._begins[0]
        return self._begins[0][1]

    def _next(self) -> bytes:
        """Open the stream that follows, if there is one; its first bytes."""
        place = self.stop
        while place < self._file.size and not (data := self._file.at(place, _STEP_BYTES)).strip(b"\0"):
            place += len(data)
        if place >= self._file.size:
            return b""
        data = self._file.at(place, _STEP_BYTES)
        place += len(data) - len(data.lstrip(b"\0"))
        found = _opened(self._file, place)
        if found is None:
            self.problem, self.stop = f"no bzip2 stream at byte {place}", place + 1
            return b""
        self._open, data = found
        self.stream = place
        self._begins.append((self._size, place))
        return data
