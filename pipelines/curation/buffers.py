"""Texts as numba kernels see them: UTF-8 bytes and the places where each text begins and ends, without a copy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BYTES = "Array(uint8, 1, 'C', readonly=True)"
"""In a numba signature: the data of texts. Arrow's buffers may not be written to."""
OFFSETS = "Array(int64, 1, 'C', readonly=True)"
"""In a numba signature: the offsets of texts."""


def utf8(texts: pa.LargeStringArray) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets (n + 1,) into data: text i is `data[offsets[i]:offsets[i + 1]]`. Nulls are empty texts."""
    _, offsets, data = texts.buffers()
    begins = np.frombuffer(offsets, np.int64, len(texts) + 1, 8 * texts.offset) if offsets else np.zeros(1, np.int64)
    return begins, np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)


def texts_of(offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> pa.LargeStringArray:
    """The reverse: an Arrow array over a kernel's output, which must be valid UTF-8."""
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def strings(values: Iterable[str | None]) -> pa.LargeStringArray:
    """Python strings as an Arrow array of texts."""
    return pa.array(list(values), pa.large_string())
