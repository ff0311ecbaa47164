"""The Megatron indexed token format: `.bin` holds the tokens, `.idx` says where each document lies.

`.bin`: raw little-endian tokens, nothing else. `.idx` (Megatron-LM, `megatron/core/datasets/indexed_dataset.py`):

    b"MMIDIDX\\x00\\x00" · <Q version 1 · <B dtype code · <Q sequences S · <Q document boundaries D+1
    int32[S] lengths in tokens · int64[S] byte offsets in .bin · int64[D+1] sequence number where each document starts

We write one sequence a document, so S = D. A vocabulary of at most 65,536 ids is uint16 (code 8), a larger one int32
(code 4): the format has no uint32, and no vocabulary needs the 32nd bit.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
_CODES: dict[str, int] = {"uint16": 8, "int32": 4}
_DTYPES: dict[int, str] = {code: name for name, code in _CODES.items()}
_LONGEST_DOCUMENT = 2**31 - 1

Tokens = npt.NDArray[Any]
"""A 1-d array of token ids, uint16 or int32."""


def dtype_for(vocabulary_size: int) -> str:
    """The narrowest dtype of the format that holds ids 0 … vocabulary_size - 1: "uint16" or "int32"."""
    if not 0 < vocabulary_size <= 2**31:
        raise ValueError(f"vocabulary of {vocabulary_size} tokens: expected 1 to 2^31")
    return "uint16" if vocabulary_size <= 2**16 else "int32"


def narrow(tokens: npt.NDArray[Any], dtype: str) -> Tokens:
    """Cast ids to a shard's dtype.

    Raises:
        OverflowError: an id does not fit; nothing is ever wrapped around.
    """
    if tokens.size:
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high > np.iinfo(dtype).max:
            raise OverflowError(f"token ids {low} to {high} do not fit {dtype} (0 to {np.iinfo(dtype).max})")
    return tokens.astype(np.dtype(dtype).newbyteorder("<"), copy=False)


def index_bytes(lengths: Sequence[int] | npt.NDArray[Any], dtype: str) -> bytes:
    """The `.idx` of documents of these lengths (in tokens) laid one after the other.

    Raises:
        OverflowError: a document of 2^31 tokens or more, which the format's int32 lengths cannot hold.
    """
    counts = np.asarray(lengths, dtype=np.int64)
    if counts.size and int(counts.max()) > _LONGEST_DOCUMENT:
        raise OverflowError(f"a document of {int(counts.max())} tokens: the index holds at most {_LONGEST_DOCUMENT}")
    offsets = np.zeros(len(counts), dtype="<i8")
    np.cumsum(counts[:-1] * np.dtype(dtype).itemsize, out=offsets[1:])
    header = HEADER.pack(MAGIC, 1, _CODES[dtype], len(counts), len(counts) + 1)
    starts = np.arange(len(counts) + 1, dtype="<i8")
    return header + counts.astype("<i4").tobytes() + offsets.tobytes() + starts.tobytes()


def shard_sizes(documents: int, tokens: int, dtype: str) -> tuple[int, int]:
    """Bytes that the `.bin` and the `.idx` of so many documents and tokens have."""
    return tokens * np.dtype(dtype).itemsize, HEADER.size + (4 + 8 + 8) * documents + 8


class Index:
    """An `.idx`, memory-mapped; opening reads only the header.

    Attributes:
        dtype: of the tokens.
        lengths: int32[D] tokens of each document.
        offsets: int64[D] where each document starts, in bytes; not aligned.

    Raises:
        ValueError: it is no such index, or cut off.
    """

    def __init__(self, idx_path: str) -> None:
        with open(idx_path, "rb") as file:
            head = file.read(HEADER.size)
        if len(head) < HEADER.size or head[:9] != MAGIC:
            raise ValueError(f"{idx_path}: not a Megatron index (it starts with {head[:9]!r})")
        _, version, code, sequences, boundaries = HEADER.unpack(head)
        if version != 1 or code not in _DTYPES or boundaries != sequences + 1:
            raise ValueError(
                f"{idx_path}: version {version}, dtype code {code}, {sequences} sequences, {boundaries} boundaries: "
                f"expected version 1, dtype uint16 (8) or int32 (4), and one sequence a document"
            )
        self.dtype = np.dtype(_DTYPES[code]).newbyteorder("<")
        index = np.asarray(np.memmap(idx_path, dtype=np.uint8, mode="r"))
        _, expected = shard_sizes(sequences, 0, _DTYPES[code])
        if len(index) != expected:
            raise ValueError(f"{idx_path}: {len(index)} bytes, expected {expected} for {sequences} documents")
        after = HEADER.size + 4 * sequences
        self.lengths: npt.NDArray[np.int32] = index[HEADER.size : after].view("<i4")
        self.offsets: npt.NDArray[np.int64] = index[after : after + 8 * sequences].view("<i8")

    def __len__(self) -> int:
        return len(self.lengths)


class Shard(Index):
    """One `.bin`/`.idx` pair, memory-mapped.

    Attributes:
        tokens: [T] ids of all documents, one after the other.

    Raises:
        ValueError: they do not fit together.
    """

    def __init__(self, bin_path: str, idx_path: str) -> None:
        super().__init__(idx_path)
        self.tokens: Tokens = _map(bin_path, self.dtype)
        last = int(self.offsets[-1]) + int(self.lengths[-1]) * self.dtype.itemsize if len(self) else 0
        if last != self.tokens.nbytes:
            raise ValueError(f"{bin_path}: {self.tokens.nbytes} bytes, its index says {last}")

    def start(self, document: int) -> int:
        """Token offset where a document starts."""
        return int(self.offsets[document]) // self.dtype.itemsize

    def document(self, document: int) -> Tokens:
        """The tokens of one document, a view of the mapped file."""
        start = self.start(document)
        return self.tokens[start : start + int(self.lengths[document])]

    def starts_between(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Token offsets p with start < p < stop where a document starts. O(log D) page reads."""
        # The header's 34 bytes leave the offsets unaligned; np.searchsorted would copy all of them at each call.
        size = self.dtype.itemsize
        first = bisect.bisect_right(self.offsets, start * size)
        last = bisect.bisect_left(self.offsets, stop * size, lo=first)
        return np.asarray(self.offsets[first:last], dtype=np.int64) // size


def _map(path: str, dtype: np.dtype[Any]) -> Tokens:
    with open(path, "rb") as file:
        empty = not file.read(1)
    return np.zeros(0, dtype) if empty else np.asarray(np.memmap(path, dtype=dtype, mode="r"))
