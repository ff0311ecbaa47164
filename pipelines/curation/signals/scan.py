"""One scan over a text's UTF-8 bytes: its words, lines and paragraphs as hashes and lengths, and its counts.

Definitions are those of `reference`. Hashes are 64-bit FNV-1a over code points with murmur3's finalizer: two
segments are equal if their hashes are, which errs about once in 10**13 pairs of a document of a million words.
"""

from __future__ import annotations

import numpy as np
from numba import uint8, uint32, uint64
from numpy.typing import NDArray

from pipelines.buffers import BYTES, code_point
from pipelines.curation.signals.characters import (
    ALPHANUMERIC,
    BULLET,
    DECIMAL,
    LETTER,
    PUNCTUATION,
    SPACE,
    TABLE_SIZE,
    TERMINAL,
    UPPER,
)
from pipelines.curation.signals.reference import CLOSERS, LONG_LINE_CHARACTERS, SHORT_LINE_CHARACTERS
from pipelines.kernels import njit

SEED = uint64(0xCBF29CE484222325)
PRIME = uint64(0x100000001B3)
NEWLINE, HASH, DOT, ELLIPSIS = uint32(ord("\n")), uint32(ord("#")), uint32(ord(".")), uint32(ord("…"))
EXCLAMATION, QUESTION = uint32(ord("!")), uint32(ord("?"))
STOP, WIDE_EXCLAMATION, WIDE_QUESTION = uint32(ord("。")), uint32(ord("！")), uint32(ord("？"))
CLOSING = tuple(uint32(ord(mark)) for mark in CLOSERS)

(
    CHARACTERS,
    TOKENS,
    ALPHABETIC_TOKENS,
    HASHES,
    ELLIPSES,
    NEWLINES,
    SENTENCES,
    ALPHANUMERICS,
    LETTERS,
    DECIMALS,
    UPPERS,
    SPACES,
    LINES,
    PARAGRAPHS,
    RAW_LINE_CHARACTERS,
    LONGEST_LINE,
    BULLET_LINES,
    ELLIPSIS_LINES,
    TERMINAL_LINES,
    SHORT_LINES,
    LONG_LINES,
    COUNTS,
) = range(22)
"""What is counted: indices into `counts`; the last is how many there are."""


@njit("uint64(uint64)", cache=True, nogil=True, inline="always")
def mix(h: np.uint64) -> np.uint64:
    """Murmur3's finalizer: every bit of the result depends on every bit of the argument."""
    h ^= h >> uint64(33)
    h *= uint64(0xFF51AFD7ED558CCD)
    h ^= h >> uint64(33)
    h *= uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> uint64(33))


@njit(
    f"int64({BYTES}, int64, int64, uint8[::1], uint32[::1], uint64[::1], int32[::1], uint64[::1], int32[::1],"
    " uint64[::1], int32[::1], int64[::1])",
    cache=True,
    nogil=True,
)
def scan(
    data: NDArray[np.uint8],
    begin: int,
    end: int,
    classes: NDArray[np.uint8],
    lower: NDArray[np.uint32],
    word_hash: NDArray[np.uint64],
    word_length: NDArray[np.int32],
    line_hash: NDArray[np.uint64],
    line_length: NDArray[np.int32],
    paragraph_hash: NDArray[np.uint64],
    paragraph_length: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> int:
    """Scan `data[begin:end]`, valid UTF-8. Fills the arrays and `counts`; returns the number of words.

    Lengths are in characters. The arrays need room for a segment every two bytes, and one more.
    """
    for k in range(COUNTS):
        counts[k] = 0
    words = lines = paragraphs = 0
    characters = alphanumerics = letters = decimals = uppers = spaces = 0
    in_token = token_letter = False
    h = word_kept = SEED
    length = word_characters = 0
    line = line_kept = SEED
    raw_length = line_characters = line_kept_characters = 0
    line_first_bullet = False
    last = uint32(0)
    last_terminal = False
    dots_at_end = 0
    after_space = False
    paragraph = SEED
    paragraph_characters = 0
    dots = 0
    sentence = False
    wide = False
    i = begin
    while i <= end:
        if i == end:
            c = NEWLINE
            i += 1
        else:
            c, width = code_point(data, i)
            i += width
            characters += 1
        kind = classes[c] if c < TABLE_SIZE else uint8(0)

        if kind & SPACE:
            spaces += 1
            if sentence:
                counts[SENTENCES] += 1
            sentence = wide = False
            dots = 0
            if in_token:
                counts[TOKENS] += 1
                if token_letter:
                    counts[ALPHABETIC_TOKENS] += 1
                if word_characters > 0:
                    word_hash[words] = mix(word_kept)
                    word_length[words] = word_characters
                    words += 1
                in_token = token_letter = False
                h = SEED
                length = word_characters = 0
            if c == NEWLINE:
                if i <= end:
                    counts[NEWLINES] += 1
                if line_kept_characters > 0:
                    line_hash[lines] = mix(line_kept)
                    line_length[lines] = line_kept_characters
                    paragraph = (paragraph ^ line_hash[lines]) * PRIME
                    paragraph_characters += line_kept_characters
                    lines += 1
                    counts[RAW_LINE_CHARACTERS] += raw_length
                    counts[LONGEST_LINE] = max(counts[LONGEST_LINE], raw_length)
                    if line_first_bullet:
                        counts[BULLET_LINES] += 1
                    if last == ELLIPSIS or dots_at_end >= 3:
                        counts[ELLIPSIS_LINES] += 1
                    if last_terminal:
                        counts[TERMINAL_LINES] += 1
                    if line_kept_characters <= SHORT_LINE_CHARACTERS:
                        counts[SHORT_LINES] += 1
                    if line_kept_characters >= LONG_LINE_CHARACTERS:
                        counts[LONG_LINES] += 1
                elif paragraph_characters > 0:
                    paragraph_hash[paragraphs] = mix(paragraph)
                    paragraph_length[paragraphs] = paragraph_characters
                    paragraphs += 1
                    paragraph = SEED
                    paragraph_characters = 0
                line = line_kept = SEED
                raw_length = line_characters = line_kept_characters = 0
                dots_at_end = 0
            else:
                raw_length += 1
                after_space = True
                if line_characters > 0:
                    line = (line ^ uint64(c)) * PRIME
                    line_characters += 1
            continue

        if c < 0x80 and kind & ALPHANUMERIC:
            # Most of a text is runs of ASCII letters and digits: nothing but hashes and counts changes inside one.
            if line_characters == 0:
                line_first_bullet = False
            run = i
            while True:
                h = (h ^ uint64(lower[c])) * PRIME
                line = (line ^ uint64(c)) * PRIME
                if kind & LETTER:
                    letters += 1
                    token_letter = True
                    if kind & UPPER:
                        uppers += 1
                else:
                    decimals += 1
                if i >= end:
                    break
                c = uint32(data[i])
                if c >= 0x80:
                    break
                kind = classes[c]
                if not kind & ALPHANUMERIC:
                    break
                last = c
                i += 1
            run = i - run + 1
            if run == 1:
                last = uint32(data[i - 1])
            alphanumerics += run
            characters += run - 1
            raw_length += run
            length += run
            line_characters += run
            line_kept, line_kept_characters = line, line_characters
            word_kept, word_characters = h, length
            in_token = True
            last_terminal = sentence = wide = after_space = False
            dots = dots_at_end = 0
            continue

        # Anything else that is not white space.
        raw_length += 1
        line = (line ^ uint64(c)) * PRIME
        line_characters += 1
        if line_characters == 1:
            line_first_bullet = (kind & BULLET) != 0
        line_kept = line
        line_kept_characters = line_characters
        last = c
        last_terminal = (kind & TERMINAL) != 0
        in_token = True
        small = lower[c] if c < TABLE_SIZE else c
        if kind & PUNCTUATION:
            if length > 0:
                h = (h ^ uint64(small)) * PRIME
                length += 1
            if c == DOT:
                dots += 1
                dots_at_end = 1 if after_space else dots_at_end + 1
                if dots == 3:
                    counts[ELLIPSES] += 1
                    dots = 0
                sentence, wide = True, False
            else:
                dots = dots_at_end = 0
                if c == HASH:
                    counts[HASHES] += 1
                if c in (EXCLAMATION, QUESTION, ELLIPSIS):
                    sentence, wide = True, False
                    if c == ELLIPSIS:
                        counts[ELLIPSES] += 1
                elif c in (STOP, WIDE_EXCLAMATION, WIDE_QUESTION):
                    if not wide:
                        counts[SENTENCES] += 1
                    sentence, wide = False, True
                else:
                    wide = False
                    if sentence:
                        closing = False
                        for k in range(len(CLOSING)):
                            if c == CLOSING[k]:
                                closing = True
                        sentence = closing
        else:
            h = (h ^ uint64(small)) * PRIME
            length += 1
            word_kept = h
            word_characters = length
            dots = dots_at_end = 0
            sentence = wide = False
            if kind & ALPHANUMERIC:
                alphanumerics += 1
                if kind & LETTER:
                    letters += 1
                    token_letter = True
                elif kind & DECIMAL:
                    decimals += 1
            if kind & UPPER:
                uppers += 1
        after_space = False
    if paragraph_characters > 0:
        paragraph_hash[paragraphs] = mix(paragraph)
        paragraph_length[paragraphs] = paragraph_characters
        paragraphs += 1
    counts[CHARACTERS] = characters
    counts[ALPHANUMERICS] = alphanumerics
    counts[LETTERS] = letters
    counts[DECIMALS] = decimals
    counts[UPPERS] = uppers
    # The line break that was put at the end is none of the text's.
    counts[SPACES] = spaces - 1
    counts[LINES] = lines
    counts[PARAGRAPHS] = paragraphs
    return words
