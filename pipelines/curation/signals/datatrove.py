"""The signals of the group "datatrove": what datatrove 0.10 measures, for rules with `variant: datatrove`.

Its definitions differ from ours: tokens are spaCy's, punctuation among them; only later copies of lines and paragraphs
are duplicates, and these are split at runs of line breaks; character fractions are over all characters, white space
too; the most frequent n-gram counts even if it occurs once; duplicated n-grams are found from left to right, and what
is inside one is not looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numba import uint32, uint64
from numpy.typing import NDArray

from pipelines.buffers import BYTES, OFFSETS, code_point, strings, utf8
from pipelines.curation.signals.characters import LETTER, SPACE, TABLE_SIZE, tables
from pipelines.curation.signals.kernel import GRAM
from pipelines.curation.signals.names import DATATROVE
from pipelines.curation.signals.scan import PRIME, SEED, mix
from pipelines.curation.signals.tokens import OTHER, STYLES, SYMBOL, TERMINAL, mark_classes, split_piece
from pipelines.kernels import njit

_COLUMN = {name.removeprefix("datatrove_"): number for number, name in enumerate(DATATROVE)}
DUPLICATE_LINES, TOP_2, DUPLICATE_5, TERMINAL_LINES = (
    _COLUMN[name] for name in ("duplicate_lines", "top_2_gram", "duplicate_5_grams", "terminal_lines")
)
SHORT_LINE_CHARACTERS = 30


@njit(f"int64({BYTES}, int64, int64, uint32[::1])", cache=True, nogil=True)
def decode(data: NDArray[np.uint8], begin: int, end: int, codes: NDArray[np.uint32]) -> int:
    """Code points of valid UTF-8; returns how many."""
    n = 0
    i = begin
    while i < end:
        codes[n], width = code_point(data, i)
        i += width
        n += 1
    return n


@njit("uint64(uint32[::1], int64, int64)", cache=True, nogil=True)
def hash_of(codes: NDArray[np.uint32], begin: int, end: int) -> np.uint64:
    """Names a piece of text."""
    h = SEED
    for i in range(begin, end):
        h = (h ^ uint64(codes[i])) * PRIME
    return mix(h)


@njit("boolean(uint64, uint64[::1], int32[::1], int32[::1], int64, int64)", cache=True, nogil=True, inline="always")
def seen(
    key: np.uint64,
    table_key: NDArray[np.uint64],
    table_stamp: NDArray[np.int32],
    table_value: NDArray[np.int32],
    stamp: int,
    size: int,
) -> bool:
    """Whether a key is in the set of this stamp; it is afterwards."""
    mask = uint64(size - 1)
    place = key & mask
    while table_stamp[place] == stamp:
        if table_key[place] == key:
            return True
        place = (place + uint64(1)) & mask
    table_stamp[place] = stamp
    table_key[place] = key
    table_value[place] = 0
    return False


@njit(
    "UniTuple(int64, 3)(uint32[::1], int64, int64, int64, uint64[::1], int32[::1], int32[::1], int64, int64)",
    cache=True,
    nogil=True,
)
def later_copies(
    codes: NDArray[np.uint32],
    begin: int,
    end: int,
    breaks: int,
    table_key: NDArray[np.uint64],
    table_stamp: NDArray[np.int32],
    table_value: NDArray[np.int32],
    stamp: int,
    size: int,
) -> tuple[int, int, int]:
    """Pieces of `codes[begin:end]` between runs of at least `breaks` line breaks.

    Returns how many there are, how many are later copies, and the characters of these.
    """
    pieces = copies = characters = 0
    start = i = begin
    while i <= end:
        run = 0
        while i + run < end and codes[i + run] == 0x0A:
            run += 1
        if i == end or run >= breaks:
            pieces += 1
            if seen(hash_of(codes, start, i), table_key, table_stamp, table_value, stamp, size):
                copies += 1
                characters += i - start
            if i == end:
                break
            i += run
            start = i
        else:
            i += max(1, run)
    return pieces, copies, characters


@njit(
    f"void({OFFSETS}, {BYTES}, uint8[::1], uint8[::1], uint32[::1], int32[::1], int32[::1], uint64[:, ::1],"
    " int64[::1], float64[:, ::1])",
    cache=True,
    nogil=True,
)
def measure_texts(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    marks: NDArray[np.uint8],
    lower: NDArray[np.uint32],
    style: NDArray[np.int32],
    language: NDArray[np.int32],
    stop_words: NDArray[np.uint64],
    stop_counts: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Fill `out` (signals, texts)."""
    most = 0
    for t in range(len(offsets) - 1):
        most = max(most, offsets[t + 1] - offsets[t])
    size = 16
    while size < 2 * (most + 2):
        size *= 2
    codes = np.empty(most + 2, np.uint32)
    begin, end = np.empty(most + 2, np.int32), np.empty(most + 2, np.int32)
    word = np.empty(most + 2, np.uint64)
    upto = np.empty(most + 3, np.int64)
    table_key, table_stamp = np.empty(size, np.uint64), np.zeros(size, np.int32)
    table_value, first = np.empty(size, np.int32), np.empty(size, np.int32)
    stamp = 0
    for t in range(len(offsets) - 1):
        length = decode(data, offsets[t], offsets[t + 1], codes)
        mask_size = 16
        while mask_size < 2 * (length + 2):
            mask_size *= 2
        total = max(1, length)

        # Tokens.
        n = 0
        i = 0
        while i < length:
            while i < length and codes[i] < TABLE_SIZE and classes[codes[i]] & SPACE:
                i += 1
            a = i
            while i < length and not (codes[i] < TABLE_SIZE and classes[codes[i]] & SPACE):
                i += 1
            if i > a:
                n = split_piece(codes, a, i, classes, marks, lower, style[t], begin, end, n)
        words = word_characters = alphabetic = 0
        upto[0] = 0
        for k in range(n):
            word[k] = hash_of(codes, begin[k], end[k])
            upto[k + 1] = upto[k] + end[k] - begin[k]
            symbol, letter = True, False
            for i in range(begin[k], end[k]):
                c = codes[i]
                if c >= TABLE_SIZE or not marks[c] & SYMBOL:
                    symbol = False
                if c < TABLE_SIZE and classes[c] & LETTER:
                    letter = True
            if not symbol:
                words += 1
                word_characters += end[k] - begin[k]
            if letter:
                alphabetic += 1

        # Lines as str.splitlines has them, for bullets and ellipses; and counts over the text.
        lines = bullets = ellipsis_ends = hashes = ellipses = newlines = dots = 0
        filled = terminals = short = 0
        start = 0
        for i in range(length + 1):
            c = codes[i] if i < length else uint32(0x0A)
            if i < length:
                if c == 0x23:
                    hashes += 1
                if c == 0x2026:
                    ellipses += 1
                dots = dots + 1 if c == 0x2E else 0
                if dots == 3:
                    ellipses += 1
                    dots = 0
                if c == 0x0A:
                    newlines += 1
            if c == 0x0A:
                x, y = start, i
                while x < y and codes[x] < TABLE_SIZE and classes[codes[x]] & SPACE:
                    x += 1
                while y > x and codes[y - 1] < TABLE_SIZE and classes[codes[y - 1]] & SPACE:
                    y -= 1
                if i < length or start < length:
                    lines += 1
                    if y > x:
                        if codes[x] == 0x2022 or codes[x] == 0x2D:
                            bullets += 1
                        z = codes[y - 1]
                        if z == 0x2026 or (y - x >= 3 and z == 0x2E and codes[y - 2] == 0x2E and codes[y - 3] == 0x2E):
                            ellipsis_ends += 1
                if y > x:
                    filled += 1
                    z = codes[i - 1]
                    if z < TABLE_SIZE and marks[z] & TERMINAL:
                        terminals += 1
                    if i - start <= SHORT_LINE_CHARACTERS:
                        short += 1
                start = i + 1

        # FineWeb's duplicates are of lines that are not blank.
        stamp += 1
        repeated = 0
        start = 0
        for i in range(length + 1):
            if i == length or codes[i] == 0x0A:
                blank = True
                for k in range(start, i):
                    if not (codes[k] < TABLE_SIZE and classes[codes[k]] & SPACE):
                        blank = False
                        break
                if not blank and seen(hash_of(codes, start, i), table_key, table_stamp, table_value, stamp, mask_size):
                    repeated += i - start
                start = i + 1

        # Gopher's lines and paragraphs; the text of the latter is stripped first.
        stamp += 1
        line_pieces, line_copies, line_characters = later_copies(
            codes, 0, length, 1, table_key, table_stamp, table_value, stamp, mask_size
        )
        x, y = 0, length
        while x < y and codes[x] < TABLE_SIZE and classes[codes[x]] & SPACE:
            x += 1
        while y > x and codes[y - 1] < TABLE_SIZE and classes[codes[y - 1]] & SPACE:
            y -= 1
        stamp += 1
        pieces, copies, characters = later_copies(codes, x, y, 2, table_key, table_stamp, table_value, stamp, mask_size)

        for gram in range(2, 5):
            column = TOP_2 + gram - 2
            out[column, t] = 0.0
            if n < gram:
                continue
            stamp += 1
            mask = uint64(mask_size - 1)
            best = 0
            for k in range(n - gram + 1):
                key = word[k]
                for j in range(1, gram):
                    key = mix(key * GRAM + word[k + j])
                place = key & mask
                while table_stamp[place] == stamp and table_key[place] != key:
                    place = (place + uint64(1)) & mask
                if table_stamp[place] != stamp:
                    table_stamp[place] = stamp
                    table_key[place] = key
                    table_value[place] = 0
                    first[place] = k
                table_value[place] += 1
                best = max(best, table_value[place])
            where = n
            for place in range(mask_size):
                if table_stamp[place] == stamp and table_value[place] == best:
                    where = min(where, first[place])
            out[column, t] = best * (upto[where + gram] - upto[where] + gram - 1) / total
        for gram in range(5, 11):
            stamp += 1
            k = found = 0
            while k < n - gram + 1:
                key = word[k]
                for j in range(1, gram):
                    key = mix(key * GRAM + word[k + j])
                if seen(key, table_key, table_stamp, table_value, stamp, mask_size):
                    found += upto[k + gram] - upto[k]
                    k += gram
                else:
                    k += 1
            out[DUPLICATE_5 + gram - 5, t] = found / total

        row = language[t]
        stops = np.nan
        if row >= 0:
            stops = 0.0
            met = uint64(0)
            for k in range(n):
                for j in range(stop_counts[row]):
                    if stop_words[row, j] == word[k]:
                        bit = uint64(1) << uint64(j)
                        if not met & bit:
                            met |= bit
                            stops += 1.0
        values = (
            float(words),
            word_characters / max(1, words),
            hashes / max(1, n),
            ellipses / max(1, n),
            bullets / max(1, lines),
            ellipsis_ends / max(1, lines),
            alphabetic / max(1, n),
            stops,
            line_copies / max(1, line_pieces),
            copies / max(1, pieces),
            line_characters / total,
            characters / total,
        )
        for k in range(len(values)):
            out[k, t] = values[k]
        out[TERMINAL_LINES, t] = terminals / max(1, filled)
        out[TERMINAL_LINES + 1, t] = short / max(1, filled)
        out[TERMINAL_LINES + 2, t] = repeated / max(1, length - newlines)
        out[TERMINAL_LINES + 3, t] = newlines / max(1, n)


def measure_batch(
    texts: pa.LargeStringArray,
    languages: Sequence[str],
    language: NDArray[np.int32],
    stop_words: NDArray[np.uint64],
    stop_counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """All signals of the group: an array (signals, texts)."""
    offsets, data = utf8(texts)
    style = np.fromiter((STYLES.get(name, OTHER) for name in languages), np.int32, len(texts))
    out = np.empty((len(DATATROVE), len(texts)))
    classes, lower = tables()
    measure_texts(offsets, data, classes, mark_classes(), lower, style, language, stop_words, stop_counts, out)
    return out


def tokens(text: str, language: str) -> list[str]:
    """The word tokens of a text."""
    offsets, data = utf8(strings([text]))
    classes, lower = tables()
    codes = np.empty(len(data) + 1, np.uint32)
    length = decode(data, 0, int(offsets[-1]), codes)
    begin, end = np.empty(length + 1, np.int32), np.empty(length + 1, np.int32)
    style = STYLES.get(language, OTHER)
    n = place = 0
    for piece in text.split():
        place = text.index(piece, place)
        stop = place + len(piece)
        n = split_piece(codes, place, stop, classes, mark_classes(), lower, style, begin, end, n)
        place = stop
    return [text[a:b] for a, b in zip(begin[:n].tolist(), end[:n].tolist(), strict=True)]
