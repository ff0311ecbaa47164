"""One scan over the UTF-8 bytes of a batch of texts that measures each of their lines.

Lines end at "\\n"; their content is without white space at the ends and without citation marks (`[12]`, `[]`,
`[edit]`, `[citation needed]`, as in C4). Words are the content split at white space. Patterns are found whatever the
case of ASCII letters, but not across a citation mark.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numba import uint8, uint32, uint64
from numpy.typing import NDArray

from pipelines.buffers import BYTES, OFFSETS, code_point, utf8
from pipelines.curation.signals.characters import ALPHANUMERIC, DECIMAL, SPACE, TABLE_SIZE, UPPER, tables
from pipelines.curation.signals.reference import CLOSERS
from pipelines.kernels import njit

PATTERNS = (
    "javascript",
    "lorem ipsum",
    "{",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
    "items in cart",
    "read more...",
    "sign-in",
)
"""What lines are searched for: pattern k is bit k of a line's `patterns`."""

(
    ROW,
    BEGIN,
    END,
    WORDS,
    RAW_WORDS,
    LONGEST_WORD,
    CHARACTERS,
    UPPERS,
    DECIMALS,
    LAST,
    DOTS,
    SENTENCES,
    TAIL,
    FIRST_DIGIT,
    LOOSE,
    COLUMNS,
) = range(16)


@dataclass(frozen=True)
class Lines:
    """The non-blank and blank lines of n texts, in order: (m,) arrays."""

    row: NDArray[np.int64]
    """The text a line is in."""
    begin: NDArray[np.int64]
    """Where it begins in the batch's bytes."""
    end: NDArray[np.int64]
    """Where it ends, without its line break."""
    words: NDArray[np.int64]
    raw_words: NDArray[np.int64]
    """Words before citation marks are cut."""
    longest_word: NDArray[np.int64]
    """Characters."""
    characters: NDArray[np.int64]
    """Of the content; 0: a blank line."""
    uppers: NDArray[np.int64]
    decimals: NDArray[np.int64]
    last: NDArray[np.int64]
    """Code point of the content's last character."""
    dots: NDArray[np.int64]
    """How many full stops the content ends with."""
    sentences: NDArray[np.int64]
    """Runs of . ! ? … (closing quotes and brackets may follow) before white space or the end, and of 。！？."""
    tail: NDArray[np.int64]
    """1 if there is something after the last sentence's end."""
    first_digit: NDArray[np.int64]
    """1 if the first letter or digit is a digit."""
    loose: NDArray[np.int64]
    """1 if the last character but white space and citation marks has white space and then a citation mark behind it:
    C4's own code cuts the mark, leaves the white space, and so finds no end mark at the line's end."""
    patterns: NDArray[np.uint64]
    """Which of PATTERNS occur: a bit each."""
    citations: NDArray[np.int64]
    """(c, 3): number of the line, and bytes [begin, end) of a citation mark in the batch's bytes."""

    def __len__(self) -> int:
        return len(self.row)

    def has(self, *patterns: str) -> NDArray[np.bool_]:
        """(m,) lines in which any of the patterns occurs."""
        mask = sum(1 << PATTERNS.index(pattern) for pattern in patterns)
        found: NDArray[np.bool_] = (self.patterns & np.uint64(mask)) != 0
        return found

    @property
    def blank(self) -> NDArray[np.bool_]:
        """(m,) lines without content."""
        blank: NDArray[np.bool_] = self.characters == 0
        return blank


MEASURED = tuple(field.name for field in fields(Lines))[:COLUMNS]


def table(texts: pa.LargeStringArray, every_break: bool = False) -> Lines:
    """Measure all lines of a batch.

    Args:
        texts: without nulls.
        every_break: split at all that `str.splitlines` splits at, rather than at "\\n" only.
    """
    offsets, data = utf8(texts)
    classes, _ = tables()
    room = int(count_breaks(data, offsets[0], offsets[-1], every_break)) + len(texts)
    part = data[offsets[0] : offsets[-1]]
    columns = np.zeros((room, COLUMNS), np.int64)
    patterns = np.zeros(room, np.uint64)
    citations = np.empty((int(np.count_nonzero(part == 0x5B)), 3), np.int64)
    encoded = [pattern.encode() for pattern in PATTERNS]
    bounds = np.cumsum([0, *map(len, encoded)])
    m, c = measure_lines(
        offsets,
        data,
        classes,
        np.frombuffer(b"".join(encoded), np.uint8),
        bounds,
        every_break,
        columns,
        patterns,
        citations,
    )
    measured = dict(zip(MEASURED, np.ascontiguousarray(columns[:m].T), strict=True))
    return Lines(patterns=patterns[:m], citations=citations[:c], **measured)


@njit(f"int64({BYTES}, int64, int64, boolean)", cache=True, nogil=True)
def count_breaks(data: NDArray[np.uint8], begin: int, end: int, every_break: bool) -> int:
    """At least as many as there are line breaks in some bytes."""
    n = 0
    for i in range(begin, end):
        b = data[i]
        if b == 0x0A or (every_break and (b < 0x20 or 0x85 <= b <= 0xA9)):
            n += 1
    return n


@njit(f"int64({BYTES}, int64, int64)", cache=True, nogil=True)
def citation(data: NDArray[np.uint8], i: int, end: int) -> int:
    """The length of a citation mark that begins at byte i (a bracket), 0 if there is none."""
    j = i + 1
    while j < end and 0x30 <= data[j] <= 0x39:
        j += 1
    if j < end and data[j] == 0x5D:
        return j + 1 - i
    for mark in (b"[edit]", b"[citation needed]"):
        n = len(mark)
        if i + n <= end:
            same = True
            for k in range(n):
                if data[i + k] != mark[k]:
                    same = False
                    break
            if same:
                return n
    return 0


@njit(f"uint64({BYTES}, int64, int64, {BYTES}, int64[::1], uint64)", cache=True, nogil=True)
def search(
    data: NDArray[np.uint8],
    i: int,
    stop: int,
    pattern: NDArray[np.uint8],
    bounds: NDArray[np.int64],
    candidates: np.uint64,
) -> np.uint64:
    """Those of the candidate patterns (a bit each) that stand at byte i."""
    found = uint64(0)
    if candidates:
        for k in range(len(bounds) - 1):
            n = bounds[k + 1] - bounds[k]
            if candidates & (uint64(1) << uint64(k)) and i + n <= stop:
                same = True
                for j in range(1, n):
                    b = data[i + j]
                    if 0x41 <= b <= 0x5A:
                        b |= uint8(0x20)
                    if b != pattern[bounds[k] + j]:
                        same = False
                        break
                if same:
                    found |= uint64(1) << uint64(k)
    return found


@njit(
    f"UniTuple(int64, 2)({OFFSETS}, {BYTES}, uint8[::1], {BYTES}, int64[::1], boolean,"
    " int64[:, ::1], uint64[::1], int64[:, ::1])",
    cache=True,
    nogil=True,
)
def measure_lines(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    pattern: NDArray[np.uint8],
    bounds: NDArray[np.int64],
    every_break: bool,
    columns: NDArray[np.int64],
    patterns: NDArray[np.uint64],
    citations: NDArray[np.int64],
) -> tuple[int, int]:
    """Fill the columns; returns how many lines and citation marks there are."""
    first = np.zeros(256, np.uint64)
    second = np.zeros(256, np.uint64)
    third = np.zeros(256, np.uint64)
    for k in range(len(bounds) - 1):
        bit = uint64(1) << uint64(k)
        for place, masks in enumerate((first, second, third)):
            if bounds[k] + place < bounds[k + 1]:
                b = pattern[bounds[k] + place]
                masks[b] |= bit
                if 0x61 <= b <= 0x7A:
                    masks[b - 0x20] |= bit
            else:
                masks[:] |= bit
    closing = np.zeros(0x2100, np.bool_)
    for mark in CLOSERS:
        closing[ord(mark)] = True
    m = c = 0
    for t in range(len(offsets) - 1):
        i, stop = offsets[t], offsets[t + 1]
        while i <= stop:
            begin = i
            words = raw_words = longest = characters = uppers = decimals = dots = sentences = 0
            word = pending = 0
            in_word = in_raw = loose = False
            end = after = -1
            first_digit = -1
            last = uint32(0)
            sentence = wide = False
            found = uint64(0)
            while i < stop and data[i] != 0x0A:
                b = data[i]
                if b == 0x5B:
                    length = citation(data, i, stop)
                    if length:
                        citations[c, 0], citations[c, 1], citations[c, 2] = m, i, i + length
                        c += 1
                        i += length
                        if not in_raw:
                            in_raw = True
                            raw_words += 1
                        # "[citation needed]" is the only mark with a space in it.
                        if length == 17:
                            raw_words += 1
                        loose = pending > 0
                        continue
                begins = first[b] & ~found
                if begins and i + 1 < stop:
                    begins &= second[data[i + 1]]
                    if begins and i + 2 < stop:
                        begins &= third[data[i + 2]]
                if begins:
                    found |= search(data, i, stop, pattern, bounds, begins)
                if 0x61 <= b <= 0x7A:
                    # What most of most texts is goes through here, a run of letters at a time.
                    run = i
                    i += 1
                    while i < stop and 0x61 <= data[i] <= 0x7A:
                        begins = first[data[i]]
                        if begins and i + 2 < stop:
                            begins &= second[data[i + 1]]
                            if begins:
                                begins &= third[data[i + 2]] & ~found
                                if begins:
                                    found |= search(data, i, stop, pattern, bounds, begins)
                        i += 1
                    if pending > 0:
                        loose = False
                    characters += i - run + pending
                    pending = dots = 0
                    words += not in_word
                    raw_words += not in_raw
                    in_word = in_raw = True
                    word += i - run
                    longest = max(longest, word)
                    last = uint32(data[i - 1])
                    if first_digit < 0:
                        first_digit = 0
                    sentence = wide = False
                    continue
                here = i
                p, width = code_point(data, i)
                i += width
                kind = classes[p] if p < TABLE_SIZE else uint8(0)
                if kind & SPACE:
                    if every_break and ((p < 0x1F and p != 0x09) or p == 0x85 or p == 0x2028 or p == 0x2029):
                        end, after = here, i
                        if p == 0x0D and i < stop and data[i] == 0x0A:
                            after += 1
                        break
                    in_word = in_raw = False
                    word = 0
                    if characters > 0:
                        pending += 1
                    if sentence:
                        sentences += 1
                    sentence = wide = False
                    continue
                if pending > 0:
                    dots = 0
                    loose = False
                characters += 1 + pending
                pending = 0
                if not in_word:
                    in_word = True
                    words += 1
                if not in_raw:
                    in_raw = True
                    raw_words += 1
                word += 1
                longest = max(longest, word)
                last = p
                dots = dots + 1 if p == 0x2E else 0
                if kind & UPPER:
                    uppers += 1
                if kind & DECIMAL:
                    decimals += 1
                if first_digit < 0 and kind & ALPHANUMERIC:
                    first_digit = 1 if kind & DECIMAL else 0
                if p in (0x2E, 0x21, 0x3F, 0x2026):
                    sentence, wide = True, False
                elif p in (0x3002, 0xFF01, 0xFF1F):
                    if not wide:
                        sentences += 1
                    sentence, wide = False, True
                else:
                    wide = False
                    sentence = sentence and p < 0x2100 and closing[p]
            columns[m, TAIL] = 1 if characters > 0 and not sentence and not wide else 0
            if sentence:
                sentences += 1
            if end < 0:
                end, after = i, i + 1
            columns[m, ROW] = t
            columns[m, BEGIN] = begin
            columns[m, END] = end
            columns[m, WORDS] = words
            columns[m, RAW_WORDS] = raw_words
            columns[m, LONGEST_WORD] = longest
            columns[m, CHARACTERS] = characters
            columns[m, UPPERS] = uppers
            columns[m, DECIMALS] = decimals
            columns[m, LAST] = last
            columns[m, DOTS] = dots
            columns[m, SENTENCES] = sentences
            columns[m, FIRST_DIGIT] = max(first_digit, 0)
            columns[m, LOOSE] = loose
            patterns[m] = found
            m += 1
            i = after
    return m, c
