"""The signals of a batch of texts: one scan each, then repetition from the scan's hashes. No strings are made."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import uint64
from numpy.typing import NDArray

from pipelines.buffers import BYTES, OFFSETS, utf8
from pipelines.curation.signals import scan as s
from pipelines.curation.signals.characters import tables
from pipelines.curation.signals.names import TEXT
from pipelines.curation.signals.scan import mix, scan
from pipelines.kernels import njit

GRAM = uint64(0x9E3779B97F4A7C15)
MOST_STOP_WORDS = 64

_COLUMN = {name: number for number, name in enumerate(TEXT)}
TOP_2 = _COLUMN["top_2_gram"]
DUPLICATE_5 = _COLUMN["duplicate_5_grams"]


@njit(
    "int64(uint64[::1], int64, uint64[::1], int32[::1], int32[::1], int64, int32[::1])",
    cache=True,
    nogil=True,
)
def count(
    keys: NDArray[np.uint64],
    n: int,
    table_key: NDArray[np.uint64],
    table_count: NDArray[np.int32],
    table_stamp: NDArray[np.int32],
    stamp: int,
    slot: NDArray[np.int32],
) -> int:
    """Count equal keys: `table_count[slot[i]]` is how often keys[i] occurs; returns how many differ.

    The table is as it was left; a slot belongs to this call if it carries this call's `stamp`.
    """
    size = 16
    while size < 2 * n:
        size *= 2
    mask = uint64(size - 1)
    different = 0
    for i in range(n):
        key = keys[i]
        place = key & mask
        while table_stamp[place] == stamp and table_key[place] != key:
            place = (place + uint64(1)) & mask
        if table_stamp[place] == stamp:
            table_count[place] += 1
        else:
            table_stamp[place] = stamp
            table_key[place] = key
            table_count[place] = 1
            different += 1
        slot[i] = place
    return different


@njit(
    f"void({OFFSETS}, {BYTES}, uint8[::1], uint32[::1], int32[::1], uint64[:, ::1], int64[::1], boolean,"
    " float64[:, ::1])",
    cache=True,
    nogil=True,
)
def measure_texts(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    lower: NDArray[np.uint32],
    language: NDArray[np.int32],
    stop_words: NDArray[np.uint64],
    stop_counts: NDArray[np.int64],
    vocabulary: bool,
    out: NDArray[np.float64],
) -> None:
    """Fill `out` (signals, texts); `language[i]` is a row of `stop_words` or negative.

    Without `vocabulary`, the signals of `names.VOCABULARY` are not computed.
    """
    most = 0
    for t in range(len(offsets) - 1):
        most = max(most, offsets[t + 1] - offsets[t])
    room = most // 2 + 2
    size = 16
    while size < 2 * room:
        size *= 2
    word_hash, word_length = np.empty(room, np.uint64), np.empty(room, np.int32)
    line_hash, line_length = np.empty(room, np.uint64), np.empty(room, np.int32)
    paragraph_hash, paragraph_length = np.empty(room, np.uint64), np.empty(room, np.int32)
    upto = np.empty(room + 1, np.int64)
    key, place = np.empty(room, np.uint64), np.empty(room, np.int32)
    slot = np.empty(room, np.int32)
    table_key, table_count = np.empty(size, np.uint64), np.empty(size, np.int32)
    table_stamp = np.zeros(size, np.int32)
    counts = np.empty(s.COUNTS, np.int64)
    stamp = 0
    for t in range(len(offsets) - 1):
        n = scan(
            data,
            offsets[t],
            offsets[t + 1],
            classes,
            lower,
            word_hash,
            word_length,
            line_hash,
            line_length,
            paragraph_hash,
            paragraph_length,
            counts,
        )
        upto[0] = 0
        for i in range(n):
            upto[i + 1] = upto[i] + word_length[i]
        total = upto[n]
        lines, paragraphs = counts[s.LINES], counts[s.PARAGRAPHS]
        n_tokens, n_lines = max(1, counts[s.TOKENS]), max(1, lines)
        characters = max(1, counts[s.CHARACTERS])

        stamp += 1
        count(line_hash, lines, table_key, table_count, table_stamp, stamp, slot)
        twice = twice_characters = later = line_characters = 0
        for i in range(lines):
            line_characters += line_length[i]
            copies = table_count[slot[i]]
            if copies > 1:
                twice += 1
                twice_characters += line_length[i]
                # Of c copies all but one count; the first to come marks its slot with a negative count.
                table_count[slot[i]] = -copies
            elif copies < 0:
                twice += 1
                twice_characters += line_length[i]
                later += line_length[i]
        stamp += 1
        count(paragraph_hash, paragraphs, table_key, table_count, table_stamp, stamp, slot)
        paragraph_twice = paragraph_twice_characters = paragraph_characters = 0
        for i in range(paragraphs):
            paragraph_characters += paragraph_length[i]
            if table_count[slot[i]] > 1:
                paragraph_twice += 1
                paragraph_twice_characters += paragraph_length[i]

        active = unique = 0
        if vocabulary:
            stamp += 1
            unique = count(word_hash, n, table_key, table_count, table_stamp, stamp, slot)
            for i in range(n):
                if table_count[slot[i]] > 1:
                    place[active] = i
                    key[active] = word_hash[i]
                    active += 1

        row = language[t]
        found = np.nan
        if vocabulary and row >= 0:
            found = 0.0
            wanted = stop_counts[row]
            seen = uint64(0)
            for i in range(n):
                for k in range(wanted):
                    if stop_words[row, k] == word_hash[i]:
                        bit = uint64(1) << uint64(k)
                        if not seen & bit:
                            seen |= bit
                            found += 1.0

        for gram in range(2, 11):
            column = TOP_2 + gram - 2 if gram <= 4 else DUPLICATE_5 + gram - 5
            out[column, t] = 0.0
            if active == 0:
                continue
            last = n - gram
            left = 0
            for i in range(active):
                if place[i] <= last:
                    x = key[i] * GRAM + word_hash[place[i] + gram - 1]
                    key[left] = mix(x)
                    place[left] = place[i]
                    left += 1
            stamp += 1
            count(key, left, table_key, table_count, table_stamp, stamp, slot)
            active = 0
            if gram <= 4:
                top = longest = 0
                for i in range(left):
                    copies = table_count[slot[i]]
                    if copies > 1:
                        size_of = upto[place[i] + gram] - upto[place[i]]
                        if copies > top:
                            top, longest = copies, size_of
                        elif copies == top and size_of > longest:
                            longest = size_of
                        place[active] = place[i]
                        key[active] = key[i]
                        active += 1
                if top > 1:
                    out[column, t] = top * longest / max(1, total)
            else:
                covered = reached = 0
                for i in range(left):
                    if table_count[slot[i]] > 1:
                        covered += upto[place[i] + gram] - upto[max(place[i], reached)]
                        reached = place[i] + gram
                        place[active] = place[i]
                        key[active] = key[i]
                        active += 1
                out[column, t] = covered / max(1, total)

        values = (
            float(counts[s.CHARACTERS]),
            float(n),
            float(lines),
            float(paragraphs),
            float(counts[s.SENTENCES]),
            total / max(1, n),
            counts[s.HASHES] / n_tokens,
            counts[s.ELLIPSES] / n_tokens,
            counts[s.BULLET_LINES] / n_lines,
            counts[s.ELLIPSIS_LINES] / n_lines,
            counts[s.ALPHABETIC_TOKENS] / n_tokens,
            found,
            unique / max(1, n),
            twice / n_lines,
            paragraph_twice / max(1, paragraphs),
            twice_characters / max(1, line_characters),
            paragraph_twice_characters / max(1, paragraph_characters),
        )
        for k in range(len(values)):
            out[k, t] = values[k]
        values_after = (
            counts[s.TERMINAL_LINES] / n_lines,
            counts[s.SHORT_LINES] / n_lines,
            later / max(1, counts[s.CHARACTERS] - counts[s.NEWLINES]),
            counts[s.NEWLINES] / n_tokens,
            counts[s.RAW_LINE_CHARACTERS] / n_lines,
            float(counts[s.LONGEST_LINE]),
            float(counts[s.LONG_LINES]),
            counts[s.ALPHANUMERICS] / characters,
            counts[s.LETTERS] / characters,
            counts[s.DECIMALS] / characters,
            counts[s.UPPERS] / characters,
            counts[s.SPACES] / characters,
        )
        for k in range(len(values_after)):
            out[DUPLICATE_5 + 6 + k, t] = values_after[k]


def measure_batch(
    texts: pa.LargeStringArray,
    language: NDArray[np.int32],
    stop_words: NDArray[np.uint64],
    stop_counts: NDArray[np.int64],
    vocabulary: bool = True,
) -> NDArray[np.float64]:
    """All signals of the group "text": an array (signals, texts). Those of VOCABULARY mean nothing without it."""
    offsets, data = utf8(texts)
    out = np.empty((len(TEXT), len(texts)))
    classes, lower = tables()
    measure_texts(offsets, data, classes, lower, language, stop_words, stop_counts, vocabulary, out)
    return out


@njit(
    f"int64({OFFSETS}, {BYTES}, uint8[::1], uint32[::1], int64[::1], uint64[::1])",
    cache=True,
    nogil=True,
)
def hash_texts(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    lower: NDArray[np.uint32],
    ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> int:
    """Hashes of all words of all texts, one after another; `ends[i + 1]` is where text i's end. Returns how many."""
    most = 0
    for t in range(len(offsets) - 1):
        most = max(most, offsets[t + 1] - offsets[t])
    room = most // 2 + 2
    word_hash, word_length = np.empty(room, np.uint64), np.empty(room, np.int32)
    line_hash, line_length = np.empty(room, np.uint64), np.empty(room, np.int32)
    paragraph_hash, paragraph_length = np.empty(room, np.uint64), np.empty(room, np.int32)
    counts = np.empty(s.COUNTS, np.int64)
    so_far = 0
    ends[0] = 0
    for t in range(len(offsets) - 1):
        n = scan(
            data,
            offsets[t],
            offsets[t + 1],
            classes,
            lower,
            word_hash,
            word_length,
            line_hash,
            line_length,
            paragraph_hash,
            paragraph_length,
            counts,
        )
        hashes[so_far : so_far + n] = word_hash[:n]
        so_far += n
        ends[t + 1] = so_far
    return so_far


def word_hashes(texts: pa.LargeStringArray) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The words of each text as 64-bit hashes: offsets (n + 1,) into hashes.

    What near-duplicate detection makes its shingles of, and how stop words are looked up.
    """
    offsets, data = utf8(texts)
    classes, lower = tables()
    ends = np.empty(len(texts) + 1, np.int64)
    hashes = np.empty(int(offsets[-1] - offsets[0]) // 2 + len(texts) + 1, np.uint64)
    used = hash_texts(offsets, data, classes, lower, ends, hashes)
    return ends, hashes[:used]
