"""Texts as numba kernels see them: UTF-8 bytes and the places where each text begins and ends, without a copy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numba import uint32
from numpy.typing import NDArray

from pipelines.kernels import njit

BYTES = "Array(uint8, 1, 'C', readonly=True)"
"""In a numba signature: the data of texts. Arrow's buffers may not be written to."""
OFFSETS = "Array(int64, 1, 'C', readonly=True)"
"""In a numba signature: the offsets of texts."""


def utf8(texts: pa.LargeStringArray) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets (n + 1,) into data: text i is `data[offsets[i]:offsets[i + 1]]`. Nulls are empty texts."""
    _, offsets, data = texts.buffers()
    begins = np.frombuffer(offsets, np.int64, len(texts) + 1, 8 * texts.offset) if offsets else np.zeros(1, np.int64)
    return begins, np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)


@njit(inline="always")
def code_point(data: NDArray[np.uint8], i: int) -> tuple[Any, int]:
    """The code point that begins at byte i of valid UTF-8, and how many bytes it has. For kernels."""
    b = uint32(data[i])
    if b < 0x80:
        return b, 1
    second = uint32(data[i + 1] & 0x3F)
    if b < 0xE0:
        return ((b & uint32(0x1F)) << uint32(6)) | second, 2
    third = uint32(data[i + 2] & 0x3F)
    if b < 0xF0:
        return ((b & uint32(0x0F)) << uint32(12)) | (second << uint32(6)) | third, 3
    fourth = uint32(data[i + 3] & 0x3F)
    return ((b & uint32(0x07)) << uint32(18)) | (second << uint32(12)) | (third << uint32(6)) | fourth, 4


def texts_of(offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> pa.LargeStringArray:
    """The reverse: an Arrow array over a kernel's output, which must be valid UTF-8."""
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def strings(values: Iterable[str | None]) -> pa.LargeStringArray:
    """Python strings as an Arrow array of texts."""
    return pa.array(list(values), pa.large_string())
