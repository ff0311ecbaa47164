"""Runs: the documents of one unit as tokens, in blocks by (split, source, language, range of hashes).

A run is one file, and whoever makes a shard reads from each run the bytes of a few neighbouring blocks: one range.
The blocks of a group are those of 2^n equal ranges of the 64-bit order hash, n so that a block is about 64 KB.

Block, little-endian: int64 documents d · int64 bytes of ids · uint64[d] hashes, ascending · int64[d] bytes of text ·
int64[d] tokens with the end token · int64[d] bytes of each id · ids · tokens.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.buffers import texts_of, utf8
from pipelines.tokens.megatron import Tokens

BLOCK_BYTES = 1 << 16
_MOST_BITS = 16
_HEADER = struct.Struct("<qq")


class Documents(NamedTuple):
    """Tokenized documents of one group.

    Attributes:
        hashes: uint64[D] the order hash.
        ids: the documents' ids.
        bytes: int64[D] UTF-8 bytes of each text.
        lengths: int64[D] tokens of each document, with the end token.
        tokens: [T] one document after the other.
    """

    hashes: npt.NDArray[np.uint64]
    ids: pa.LargeStringArray
    bytes: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    tokens: Tokens

    def take(self, order: npt.NDArray[np.int64]) -> Documents:
        """The documents at these places, in this order."""
        starts = np.cumsum(self.lengths) - self.lengths
        begins, ends = starts[order].tolist(), (starts + self.lengths)[order].tolist()
        parts = [self.tokens[begin:end] for begin, end in zip(begins, ends, strict=True)]
        return Documents(
            self.hashes[order],
            self.ids.take(pa.array(order)),
            self.bytes[order],
            self.lengths[order],
            np.concatenate(parts) if parts else self.tokens[:0],
        )


def joined(parts: Sequence[Documents], dtype: np.dtype[Any]) -> Documents:
    """Documents one after the other."""
    return Documents(
        np.concatenate([np.zeros(0, np.uint64), *(part.hashes for part in parts)]),
        pa.concat_arrays([pa.array([], pa.large_string()), *(part.ids for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.bytes for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in parts)]),
        np.concatenate([np.zeros(0, dtype), *(part.tokens for part in parts)]),
    )


def blocks(documents: Documents) -> list[bytes]:
    """Documents, ascending by hash, as 2^n blocks."""
    size = documents.tokens.nbytes + 8 * 4 * len(documents.lengths)
    bits = min(_MOST_BITS, max(0, (size // BLOCK_BYTES).bit_length() - 1))
    edges = [number << (64 - bits) for number in range(1, 1 << bits)]
    rows = [0, *np.searchsorted(documents.hashes, np.array(edges, np.uint64)).tolist(), len(documents.hashes)]
    starts = np.concatenate([[0], np.cumsum(documents.lengths)])
    offsets, data = utf8(documents.ids)
    found = []
    for low, high in itertools.pairwise(rows):
        identities = data[offsets[low] : offsets[high]]
        parts = (
            documents.hashes[low:high],
            documents.bytes[low:high],
            documents.lengths[low:high],
            np.diff(offsets[low : high + 1]),
            identities,
            documents.tokens[starts[low] : starts[high]],
        )
        found.append(_HEADER.pack(high - low, len(identities)) + b"".join(part.tobytes() for part in parts))
    return found


def parse(data: bytes, dtype: np.dtype[Any]) -> Iterator[Documents]:
    """The blocks in a range of a run."""
    at = 0
    while at < len(data):
        count, size = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        hashes = np.frombuffer(data, "<u8", count, at)
        texts, lengths, of_ids = (np.frombuffer(data, "<i8", count, at + 8 * count * n) for n in (1, 2, 3))
        at += 8 * 4 * count
        offsets = np.concatenate([[0], np.cumsum(of_ids)])
        identities = texts_of(offsets, np.frombuffer(data, np.uint8, size, at))
        at += size
        tokens = np.frombuffer(data, dtype, int(lengths.sum()), at)
        at += tokens.nbytes
        yield Documents(hashes, identities, texts, lengths, tokens)


def covering(bounds: Sequence[int], low: int, high: int) -> tuple[int, int]:
    """(offset, length) of the blocks that cover the hashes [low, high).

    Args:
        bounds: where each of the group's 2^n blocks begins in the run, and where the last one ends.
    """
    bits = (len(bounds) - 1).bit_length() - 1
    first, last = low >> (64 - bits), (high - 1) >> (64 - bits)
    return bounds[first], bounds[last + 1] - bounds[first]
