"""The 128-bit keys by which exact duplicates are found: texts are equal up to case and white space."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import xxhash
from numba import uint8, uint32
from numpy.typing import NDArray

from pipelines.buffers import BYTES, OFFSETS, code_point, utf8
from pipelines.curation.signals.characters import SPACE, TABLE_SIZE, tables
from pipelines.kernels import njit

VERSION = 2
"""Part of the hash of the stage that makes keys: raise it when a text gets another one."""


def text_keys(texts: pa.LargeStringArray) -> list[bytes]:
    """xxh3-128 of each text in lower case (character by character), runs of white space read as one space."""
    offsets, data = utf8(texts)
    classes, lower = tables()
    # A lower-case letter can take a byte more than its capital (U+023A), never more than half as much again.
    out = np.empty((int(offsets[-1] - offsets[0]) * 3) // 2 + 4, np.uint8)
    ends = np.empty(len(texts) + 1, np.int64)
    normalise(offsets, data, classes, lower, out, ends)
    return [xxhash.xxh3_128_digest(out.data[begin:end]) for begin, end in pairwise(ends.tolist())]


@njit(
    f"void({OFFSETS}, {BYTES}, uint8[::1], uint32[::1], uint8[::1], int64[::1])",
    cache=True,
    nogil=True,
)
def normalise(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    lower: NDArray[np.uint32],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    """Write the normalised texts to `out`, one after another; text i is `out[ends[i]:ends[i + 1]]`."""
    size = 0
    ends[0] = 0
    for t in range(len(offsets) - 1):
        i, end = offsets[t], offsets[t + 1]
        begin = size
        space = False
        while i < end:
            c, width = code_point(data, i)
            i += width
            if c < TABLE_SIZE:
                if classes[c] & SPACE:
                    space = True
                    continue
                c = lower[c]
            if space and size > begin:
                out[size] = 0x20
                size += 1
            space = False
            if c < 0x80:
                out[size] = c
                size += 1
            elif c < 0x800:
                out[size] = uint8(0xC0) | uint8(c >> uint32(6))
                out[size + 1] = uint8(0x80) | uint8(c & uint32(0x3F))
                size += 2
            elif c < 0x10000:
                out[size] = uint8(0xE0) | uint8(c >> uint32(12))
                out[size + 1] = uint8(0x80) | uint8((c >> uint32(6)) & uint32(0x3F))
                out[size + 2] = uint8(0x80) | uint8(c & uint32(0x3F))
                size += 3
            else:
                out[size] = uint8(0xF0) | uint8(c >> uint32(18))
                out[size + 1] = uint8(0x80) | uint8((c >> uint32(12)) & uint32(0x3F))
                out[size + 2] = uint8(0x80) | uint8((c >> uint32(6)) & uint32(0x3F))
                out[size + 3] = uint8(0x80) | uint8(c & uint32(0x3F))
                size += 4
        ends[t + 1] = size
