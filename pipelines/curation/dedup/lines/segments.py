"""The segments of texts, lines or paragraphs, and the keys by which they are compared.

Lines are what "\\n" parts; a line of white space is blank. Paragraphs are runs of lines that are not blank. A segment
goes from its first line's begin to its last line's end, without a carriage return there. Its key is a hash of its
words (`words`), in their order, with all digits alike: case, punctuation, accents' composition and spacing are no
difference, dates and counters neither. Of 10^11 different segments, some 270 pairs share a key by chance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import BYTES, OFFSETS, code_point, utf8
from pipelines.curation.signals.characters import SPACE, TABLE_SIZE, tables
from pipelines.curation.signals.scan import PRIME, SEED, mix
from pipelines.curation.words import word_hashes
from pipelines.kernels import njit

VERSION = 1
"""Part of the hash of what segments are stored for: raise it when a text gets other ones."""

BEGIN, END, CHARACTERS, WORDS = range(4)
"""Columns of `Segments.sizes`: bytes in the text at which a segment begins and ends; characters without breaks."""


class Segments(NamedTuple):
    """Those segments of n texts that have words enough."""

    ends: NDArray[np.int64]
    """[n + 1]: text i's are those from ends[i] to ends[i + 1]."""
    keys: NDArray[np.uint64]
    """[m]."""
    sizes: NDArray[np.uint32]
    """[m, 4]: begin, end, characters, words."""
    totals: NDArray[np.int64]
    """[n, 2]: characters and words of all segments of each text, also of short ones."""


def segments(texts: pa.LargeStringArray, paragraphs: bool, min_words: int) -> Segments:
    """Cut n texts into lines, or paragraphs, of at least so many words."""
    offsets, data = utf8(texts)
    classes, _ = tables()
    word_ends, hashes, begins = word_hashes(texts, digits_alike=True)
    breaks = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == 0x0A))
    room = min(breaks + len(texts), len(hashes) // min_words)
    ends = np.zeros(len(texts) + 1, np.int64)
    keys, sizes = np.empty(room, np.uint64), np.empty((room, 4), np.uint32)
    totals = np.zeros((len(texts), 2), np.int64)
    used = cut(offsets, data, classes, word_ends, hashes, begins, paragraphs, min_words, ends, keys, sizes, totals)
    return Segments(ends, keys[:used], sizes[:used], totals)


@njit(f"boolean({BYTES}, uint8[::1], int64, int64)", cache=True, nogil=True)
def blank(data: NDArray[np.uint8], classes: NDArray[np.uint8], i: int, end: int) -> bool:
    """Whether a line from byte i, without a break, is of white space."""
    while i < end:
        c, width = code_point(data, i)
        if c >= TABLE_SIZE or not classes[c] & SPACE:
            return False
        i += width
    return True


@njit(
    f"int64({OFFSETS}, {BYTES}, uint8[::1], int64[::1], uint64[::1], int32[::1], boolean, int64, int64[::1],"
    " uint64[::1], uint32[:, ::1], int64[:, ::1])",
    cache=True,
    nogil=True,
)
def cut(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    word_ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    word_begins: NDArray[np.int32],
    paragraphs: bool,
    min_words: int,
    ends: NDArray[np.int64],
    keys: NDArray[np.uint64],
    sizes: NDArray[np.uint32],
    totals: NDArray[np.int64],
) -> int:
    """Fill `ends`, `keys`, `sizes` and `totals`; returns how many segments there are."""
    m = 0
    for t in range(len(offsets) - 1):
        first, stop = offsets[t], offsets[t + 1]
        w, last = word_ends[t], word_ends[t + 1]
        begin = end = -1
        characters = words = 0
        h = SEED
        i = first
        while i <= stop:
            line = i
            count = 0
            while i < stop and data[i] != 0x0A:
                count += (data[i] & 0xC0) != 0x80
                i += 1
            empty = blank(data, classes, line, i)
            if not empty:
                if begin < 0:
                    begin = line
                end = i
                if i > line and data[i - 1] == 0x0D:
                    end -= 1
                    count -= 1
                characters += count
                while w < last and word_begins[w] < i - first:
                    h = mix(h * PRIME ^ hashes[w])
                    words += 1
                    w += 1
            i += 1
            if begin >= 0 and (empty or not paragraphs or i > stop):
                totals[t, 0] += characters
                totals[t, 1] += words
                if words >= min_words:
                    keys[m] = h
                    sizes[m, BEGIN], sizes[m, END] = begin - first, end - first
                    sizes[m, CHARACTERS], sizes[m, WORDS] = characters, words
                    m += 1
                begin = end = -1
                characters = words = 0
                h = SEED
        ends[t + 1] = m
    return m
