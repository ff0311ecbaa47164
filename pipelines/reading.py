"""Files read a window at a time: checked lengths everywhere, patience where the file is on a network."""

from __future__ import annotations

import bz2
import time
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

import zstandard

from pipelines import storage

LOCAL_WINDOW_BYTES = 1 << 18
REMOTE_WINDOW_BYTES = 1 << 23
TRIES = 6
FIRST_WAIT_SECONDS = 0.5
"""Doubled after each try: 15 seconds in all, on top of what the storage's own client waits."""
_STEPS = {".gz": 1 << 12, ".bz2": 1 << 12, ".zst": 1 << 8}
"""So many bytes are decompressed at a time: they may hold 4 MB of gzip, 8 MB of zstd."""
_PIECE = 1 << 20


class ShortRead(OSError):
    """Storage gave fewer bytes than the file has."""


class Readable(Protocol):
    """What has bytes at places."""

    size: int

    def at(self, place: int, count: int) -> bytes:
        """The bytes [place, place + count), fewer only at the end."""
        ...


class Held:
    """Bytes in memory as a `Readable`."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def at(self, place: int, count: int) -> bytes:
        """A slice."""
        return self.data[place : place + count]


class StoredFile:
    """A file on any filesystem: `at` for places, `read` and `seek` for streams.

    Reading goes through one window, so that neighbouring reads are one request. A read that gives fewer bytes than the
    file's size promises is an error, never an early end. On a network errors are tried again `TRIES` times.

    Args:
        location: of the file.
        window: bytes of a window; 0: reads are as long as they are asked to be.

    Raises:
        FileNotFoundError: nothing is there.
        ShortRead: the file ended before its size.
        OSError: storage failed, and again and again where that can pass.
    """

    def __init__(self, location: str, window: int | None = None) -> None:
        self.location = location
        fs, self._path = storage.filesystem(location)
        self._remote = fs.type_name != "local"
        self._window = window if window is not None else REMOTE_WINDOW_BYTES if self._remote else LOCAL_WINDOW_BYTES
        self._open: Callable[[], Any] = lambda: fs.open_input_file(self._path)
        self._file = self._patiently(self._open)
        self.size: int = self._file.size()
        self._begin, self._data = 0, b""
        self._place = 0

    def __enter__(self) -> StoredFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._data = b""

    def at(self, place: int, count: int) -> bytes:
        """The bytes [place, place + count), fewer only at the end."""
        count = min(count, self.size - place)
        if count <= 0:
            return b""
        first = place - self._begin
        if first < 0 or first + count > len(self._data):
            self._data = self._patiently(lambda: self._fetch(place, max(count, self._window)))
            self._begin, first = place, 0
        return self._data[first : first + count]

    def read(self, count: int) -> bytes:
        """The next bytes, at most so many; none at the end."""
        data = self.at(self._place, count)
        self._place += len(data)
        return data

    def seek(self, place: int) -> None:
        """Where `read` goes on."""
        self._place = place

    def _fetch(self, place: int, count: int) -> bytes:
        count = min(count, self.size - place)
        data: bytes = self._file.read_at(count, place)
        if len(data) < count:
            raise ShortRead(f"{self.location}: {len(data)} bytes at {place} instead of {count}")
        return data

    def _patiently(self, attempt: Callable[[], Any]) -> Any:
        again = False
        for number in range(TRIES):
            try:
                if again:
                    self._file = self._open()
                return attempt()
            except (FileNotFoundError, PermissionError, IsADirectoryError):
                raise
            except OSError as error:
                if not self._remote or number == TRIES - 1:
                    raise storage.named(error, self.location) from None
                time.sleep(FIRST_WAIT_SECONDS * 2**number)
                again = attempt != self._open
        raise AssertionError("unreachable")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _Bz2:
    """bz2 a piece at a time: forty bytes of it may hold 45 MB."""

    def __init__(self) -> None:
        self._inner = bz2.BZ2Decompressor()

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def waits(self) -> bool:
        """Whether there is more without more data."""
        return not self._inner.needs_input and not self._inner.eof

    def decompress(self, data: bytes, /) -> bytes:
        return self._inner.decompress(data, _PIECE)


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(31),
    ".bz2": _Bz2,
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
COMPRESSED = tuple(_DECOMPRESSORS)


class Decompressed:
    """The content of a compressed file, member after member, as a stream.

    Everything that can be decompressed is given before the end. `problem` then says why the end came too early, or
    stays None.
    """

    def __init__(self, file: StoredFile, suffix: str) -> None:
        self._file = file
        self._new, self._step = _DECOMPRESSORS[suffix], _STEPS[suffix]
        self._member: _Decompressor | None = None
        self._left = b""
        self._ready = b""
        self.problem: str | None = None

    def read(self, count: int) -> bytes:
        """The next bytes, at most so many; none at the end."""
        pieces, have = [self._ready], len(self._ready)
        while have < count and (piece := self._more()):
            pieces.append(piece)
            have += len(piece)
        data = b"".join(pieces)
        self._ready = data[count:]
        return data[:count]

    def _more(self) -> bytes:
        while self.problem is None:
            waits = isinstance(self._member, _Bz2) and self._member.waits
            compressed = b"" if waits else self._left or self._file.read(self._step)
            self._left = b""
            if not compressed and not waits:
                if self._member is not None:
                    self.problem = "it ends within its compressed data"
                return b""
            try:
                if self._member is None:
                    compressed = compressed.lstrip(b"\0")
                    if not compressed:
                        continue
                    self._member = self._new()
                data = self._member.decompress(compressed)
            except (zlib.error, OSError, zstandard.ZstdError) as error:
                self.problem = f"compressed data is broken: {error}"
                return b""
            if self._member.eof:
                self._left = self._member.unused_data
                self._member = None
            if data:
                return data
        return b""
