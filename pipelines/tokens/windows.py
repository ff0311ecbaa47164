"""Training windows gathered straight from memory maps: tokens, documents and positions of many rows at once.

A row has T + 1 tokens: the T tokens that the window is made of, in columns 1 … T, after the token that comes before
them. `documents` numbers the row's documents 0, 1, … by column, and `positions` restarts at each. Document -1 is no
document: padding, and tokens that are there to be seen but are no targets of this window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import carray, int64, types, uint64  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic

from pipelines.kernels import njit
from pipelines.tokens.packing import PackingPlan, Stream

NO_DOCUMENT = -1
_ROWS = "int64[::1], int64[::1], int64[:, ::1], int32[:, ::1], int32[:, ::1]"
_SHARDS = "int64[::1], uint64[::1], int64[::1]"

Integers = npt.NDArray[np.int64]


class Rows:
    """Room for n rows: tokens int64[n, T+1], documents int32[n, T+1], positions int32[n, T+1]."""

    def __init__(self, rows: int, sequence_length: int) -> None:
        shape = (rows, sequence_length + 1)
        self.tokens = np.empty(shape, dtype=np.int64)
        self.documents = np.empty(shape, dtype=np.int32)
        self.positions = np.empty(shape, dtype=np.int32)


class _Maps:
    """Where the shards of a stream lie in memory. Keeps them mapped."""

    def __init__(self, stream: Stream) -> None:
        self._shards = [shard for shard in stream.shards if len(shard)]
        self.bounds = np.cumsum([0, *(len(shard.tokens) for shard in self._shards)], dtype=np.int64)
        self.tokens_at = np.array([_address(shard.tokens) for shard in self._shards], dtype=np.uint64)
        self.offsets_at = np.array([_address(shard.offsets) for shard in self._shards], dtype=np.uint64)
        self.documents = np.array([len(shard) for shard in self._shards], dtype=np.int64)
        self.widths = np.array([shard.dtype.itemsize for shard in self._shards], dtype=np.int64)


class Concatenated:
    """Windows of T tokens of all documents one after the other; each begins with the last token of the one before.

    Args:
        stream: the documents.
        sequence_length: T.
    """

    def __init__(self, stream: Stream, sequence_length: int) -> None:
        self._maps, self._length = _Maps(stream), sequence_length

    def gather(self, windows: Integers, rows: Integers, into: Rows) -> None:
        """Write the windows [r] to these rows [r]."""
        maps = self._maps
        _gather_concatenated(
            maps.bounds,
            maps.tokens_at,
            maps.widths,
            maps.offsets_at,
            maps.documents,
            windows * self._length,
            rows,
            into.tokens,
            into.documents,
            into.positions,
        )


class Packed:
    """Windows made of whole pieces of documents, as a plan says, filled up with padding.

    A piece that begins within its document is preceded by the token before it, which is no target.

    Args:
        stream: the documents.
        plan: which pieces stand in which window.
        end: the id that stands before a document's first token.
        pad: the id that fills up.
    """

    def __init__(self, stream: Stream, plan: PackingPlan, end: int, pad: int) -> None:
        self._maps, self._plan, self._end, self._pad = _Maps(stream), plan, end, pad

    def gather(self, windows: Integers, rows: Integers, into: Rows) -> None:
        """Write the windows [r] to these rows [r]."""
        maps, plan = self._maps, self._plan
        _gather_packed(
            maps.bounds,
            maps.tokens_at,
            maps.widths,
            plan.starts,
            plan.sizes,
            plan.first,
            self._end,
            self._pad,
            windows,
            rows,
            into.tokens,
            into.documents,
            into.positions,
        )


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _as_pointer(typing_context: Any, address: Any) -> Any:
    """The address as a pointer, for `carray`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uint64), generate


_pointer: Any = intrinsic(_as_pointer)


@njit("void(uint64, int64, int64, int64, int64[::1])", cache=True, nogil=True)
def _copy(address: int, width: int, first: int, count: int, out: Integers) -> None:
    """Tokens first … first + count - 1 of the shard at an address, as int64."""
    if width == 2:
        narrow = carray(_pointer(address), (first + count,), dtype=np.uint16)
        for i in range(count):
            out[i] = narrow[first + i]
    else:
        wide = carray(_pointer(address), (first + count,), dtype=np.int32)
        for i in range(count):
            out[i] = wide[first + i]


@njit("int64(uint64, int64)", cache=True, nogil=True)
def _offset(address: int, document: int) -> int:
    """The byte offset of a document. The index is not aligned, so its bytes are put together."""
    parts = carray(_pointer(address), (8 * document + 8,), dtype=np.uint8)
    value = uint64(0)
    for i in range(8):
        value |= uint64(parts[8 * document + i]) << uint64(8 * i)
    return int(value)


@njit("int64(int64[::1], int64)", cache=True, nogil=True)
def _shard_of(bounds: Integers, token: int) -> int:
    """The shard that holds a token of the stream."""
    low, high = 0, len(bounds) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if bounds[middle] <= token:
            low = middle
        else:
            high = middle
    return low


@njit(f"void({_SHARDS}, uint64[::1], int64[::1], {_ROWS})", cache=True, nogil=True)
def _gather_concatenated(
    bounds: Integers,
    tokens_at: npt.NDArray[np.uint64],
    widths: Integers,
    offsets_at: npt.NDArray[np.uint64],
    counts: Integers,
    starts: Integers,
    rows: Integers,
    tokens: Integers,
    documents: npt.NDArray[np.int32],
    positions: npt.NDArray[np.int32],
) -> None:
    length = tokens.shape[1]
    for i in range(len(rows)):
        row, start = rows[i], starts[i]
        shard = _shard_of(bounds, start)
        at = document = position = 0
        while at < length:
            low = start + at - bounds[shard]
            count = min(length - at, bounds[shard + 1] - bounds[shard] - low)
            width, index = widths[shard], offsets_at[shard]
            _copy(tokens_at[shard], width, low, count, tokens[row, at : at + count])
            if at > 0:
                document, position = document + 1, 0
            # The first document that starts after `low`.
            after, end = 0, counts[shard]
            while after < end:
                middle = (after + end) // 2
                if _offset(index, middle) <= low * width:
                    after = middle + 1
                else:
                    end = middle
            done = 0
            while done < count:
                edge = count
                if after < counts[shard]:
                    edge = min(count, _offset(index, after) // width - low)
                for j in range(done, edge):
                    documents[row, at + j] = document
                    positions[row, at + j] = position + j - done
                position += edge - done
                done = edge
                if done < count:
                    document, position = document + 1, 0
                    while after < counts[shard] and _offset(index, after) <= (low + done) * width:
                        after += 1
            at += count
            shard += 1


@njit(
    f"void({_SHARDS}, Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True),"
    f" Array(int64, 1, 'C', readonly=True), int64, int64, {_ROWS})",
    cache=True,
    nogil=True,
)
def _gather_packed(
    bounds: Integers,
    tokens_at: npt.NDArray[np.uint64],
    widths: Integers,
    starts: Integers,
    sizes: npt.NDArray[np.int32],
    first: Integers,
    end: int,
    pad: int,
    windows: Integers,
    rows: Integers,
    tokens: Integers,
    documents: npt.NDArray[np.int32],
    positions: npt.NDArray[np.int32],
) -> None:
    length = tokens.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        tokens[row, 0], documents[row, 0], positions[row, 0] = end, NO_DOCUMENT, 0
        at, document = 1, 0
        for piece in range(first[windows[i]], first[windows[i] + 1]):
            start, size = starts[piece], int64(sizes[piece])
            shard = _shard_of(bounds, start)
            low = start - bounds[shard]
            if size < 0:
                size = -size
                lead = 0 if at == 1 else at
                _copy(tokens_at[shard], widths[shard], low - 1, 1, tokens[row, lead : lead + 1])
                documents[row, lead], positions[row, lead] = NO_DOCUMENT, 0
                at = lead + 1
            _copy(tokens_at[shard], widths[shard], low, size, tokens[row, at : at + size])
            for j in range(size):
                documents[row, at + j] = document
                positions[row, at + j] = j
            at, document = at + size, document + 1
        for j in range(at, length):
            tokens[row, j], documents[row, j], positions[row, j] = pad, NO_DOCUMENT, j - at
