"""MinHash signatures and band keys of texts, from the hashes of their words.

A shingle is k words in a row; its 32-bit hash x comes from a rolling polynomial over the words' hashes. Hash function
j is multiply-add-shift (Dietzfelbinger 1996): (a_j x + b_j mod 2^64) >> 32 with random 64-bit a_j, b_j is strongly
universal on 32-bit x, and the wrap-around is the definition, so it is the same in any language. A signature holds the
minimum of each function over the shingles of a text; a text of fewer than k words is one shingle, one without words
has no signature. The key of a band is a 64-bit hash of its minima and its number.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import uint32, uint64
from numpy.typing import NDArray

from pipelines.curation.dedup.settings import NearDuplicates
from pipelines.curation.signals.scan import mix
from pipelines.curation.words import word_hashes
from pipelines.kernels import njit

VERSION = 1
"""Part of the hash of the stage that makes keys: raise it when a text gets other ones."""

NO_KEY = np.uint64(0)
"""The key of texts without words; no band has it."""

SKETCHED = 128
"""So many of the first minima go into a sketch, two bits of each."""

SKETCH_WORDS = 4
"""uint64 a sketch: the lower bits of all minima, then the upper bits."""

_POLYNOMIAL = uint64(0x9E3779B97F4A7C15)


class MinHash:
    """The hash functions that settings name.

    Args:
        settings: their numbers and seed.
    """

    def __init__(self, settings: NearDuplicates) -> None:
        self.bands, self.rows, self.shingle_words = settings.shape
        chance = np.random.Generator(np.random.PCG64(settings.seed))
        functions = self.bands * self.rows
        self._multipliers = chance.integers(0, 2**64, functions, np.uint64, endpoint=False)
        self._addends = chance.integers(0, 2**64, functions, np.uint64, endpoint=False)

    def signatures(self, texts: pa.LargeStringArray) -> NDArray[np.uint32]:
        """uint32[n, bands * rows]: the minima of each text; all ones for a text without words."""
        ends, hashes, _ = word_hashes(texts, digits_alike=True)
        out = np.empty((len(texts), self.bands * self.rows), np.uint32)
        minima(ends, hashes, self.shingle_words, self._multipliers, self._addends, out)
        return out

    def band_keys(self, texts: pa.LargeStringArray) -> NDArray[np.uint64]:
        """uint64[n, bands]; `NO_KEY` for a text without words."""
        return self.keys_of(self.signatures(texts))

    def keys_of(self, signatures: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """The same of signatures."""
        out = np.empty((len(signatures), self.bands), np.uint64)
        band_keys(signatures, self.rows, out)
        return out

    def sketches(self, signatures: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """uint64[n, 4]: two bits of each of the first minima (b-bit minwise hashing, Li & König 2010)."""
        out = np.zeros((len(signatures), SKETCH_WORDS), np.uint64)
        for function in range(self.sketched):
            word, bit = divmod(function, 64)
            value = signatures[:, function].astype(np.uint64)
            out[:, word] |= (value & np.uint64(1)) << np.uint64(bit)
            out[:, word + SKETCH_WORDS // 2] |= (value >> np.uint64(1) & np.uint64(1)) << np.uint64(bit)
        return out

    @property
    def sketched(self) -> int:
        """How many minima a sketch holds bits of."""
        return min(self.bands * self.rows, SKETCHED)


def similarity(one: NDArray[np.uint64], other: NDArray[np.uint64], sketched: int) -> NDArray[np.float64]:
    """float64[n]: the Jaccard similarity estimated from sketches [n, 4] of `sketched` minima each.

    Two bits of minima that differ agree by chance in one of four cases. The standard error at 0.75 with 112 minima is
    0.05.
    """
    half = SKETCH_WORDS // 2
    differ = (one ^ other)[:, :half] | (one ^ other)[:, half:]
    agree = 1 - np.bitwise_count(differ).sum(axis=1, dtype=np.int64) / sketched
    return np.clip((agree - 0.25) / 0.75, 0.0, 1.0)


@njit("void(int64[::1], uint64[::1], int64, uint64[::1], uint64[::1], uint32[:, ::1])", cache=True, nogil=True)
def minima(
    ends: NDArray[np.int64],
    words: NDArray[np.uint64],
    k: int,
    multipliers: NDArray[np.uint64],
    addends: NDArray[np.uint64],
    out: NDArray[np.uint32],
) -> None:
    """Fill `out` (texts, functions)."""
    most = 1
    for t in range(len(ends) - 1):
        most = max(most, ends[t + 1] - ends[t])
    shingles = np.empty(most, np.uint32)
    leading = uint64(1)
    for _ in range(k - 1):
        leading *= _POLYNOMIAL
    for t in range(len(ends) - 1):
        begin, n = ends[t], ends[t + 1] - ends[t]
        h = uint64(0)
        count = 0
        for i in range(n):
            if i >= k:
                h -= words[begin + i - k] * leading
            h = h * _POLYNOMIAL + words[begin + i]
            if i >= k - 1 or i == n - 1:
                shingles[count] = uint32(mix(h) >> uint64(32))
                count += 1
        for j in range(len(multipliers)):
            a, b = multipliers[j], addends[j]
            least = uint32(0xFFFFFFFF)
            for i in range(count):
                value = uint32((a * uint64(shingles[i]) + b) >> uint64(32))
                least = min(least, value)
            out[t, j] = least


@njit("void(uint32[:, ::1], int64, uint64[:, ::1])", cache=True, nogil=True)
def band_keys(signatures: NDArray[np.uint32], rows: int, out: NDArray[np.uint64]) -> None:
    """Fill `out` (texts, bands)."""
    for t in range(len(signatures)):
        for band in range(out.shape[1]):
            h = mix(uint64(band + 1))
            empty = True
            for row in range(rows):
                value = signatures[t, band * rows + row]
                empty = empty and value == uint32(0xFFFFFFFF)
                h = mix(h ^ uint64(value)) + _POLYNOMIAL
            h = mix(h)
            if empty:
                h = uint64(0)
            elif h == uint64(0):
                h = uint64(1)
            out[t, band] = h
