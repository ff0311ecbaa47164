"""The words that texts are compared by, as 64-bit hashes: what near-duplicates and contamination are found with.

A word is a run of letters and digits, folded: in lower case, without marks (é and e + combining acute are e), wide and
ligature forms as plain ones (ﬁ is fi, Ａ is a, a Korean syllable its letters). So case, punctuation and spacing do not
matter, whether the accent was composed or not neither. In scripts that put no spaces between words (Han, kana, Thai,
Lao, Khmer, Burmese) every letter is a word. With `digits_alike` all digits are 0: pages that differ in dates and
counters only are then alike.

The curation signals have words of their own (`signals.scan`): there punctuation inside a word is part of it.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import int64, uint32, uint64
from numpy.typing import NDArray

from pipelines.buffers import BYTES, OFFSETS, code_point, utf8
from pipelines.curation.signals.characters import TABLE_SIZE
from pipelines.curation.signals.scan import PRIME, SEED, mix
from pipelines.kernels import njit

VERSION = 1
"""Part of the hash of every stage that compares words: raise it when a text gets other ones."""

_BETWEEN, _INSIDE = uint32(0), uint32(1)
"""What a code point without a folded form does: it parts words, or is skipped."""
_ALONE, _SEVERAL, _VALUE = uint32(1 << 31), uint32(1 << 30), uint32((1 << 30) - 1)
"""Bits beside a folded character: it is a word by itself; it is the place of several characters."""

_SKIPPED = ("Mn", "Mc", "Me", "Cf")
"""Categories of marks and of characters that nobody sees: they neither count nor part words."""
_SELECTORS, _SELECTORS_END = 0xE0000, 0xE1000
"""Tags and variation selectors, the only ones of these beyond TABLE_SIZE."""

_WITHOUT_SPACES = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF)),
    *((0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0x1AFF0, 0x1B16F), (0x20000, 0x323AF)),
)
"""Thai and Lao, Burmese, Khmer, kana, Han."""
_LONGEST_FORM = 18
"""Characters that one character is folded to, at most (U+FDFA)."""


class Folding(NamedTuple):
    """How code points below TABLE_SIZE are folded."""

    forms: NDArray[np.uint32]
    """For each code point 0: parts words; 1: is skipped; else the folded character, or the place of several."""
    several: NDArray[np.uint32]
    """At a place how many characters there are, then the characters."""


@cache
def folding(digits_alike: bool) -> Folding:
    """Built once a process, in about half a second."""
    forms = np.zeros(TABLE_SIZE, np.uint32)
    several: list[int] = []
    for code in range(TABLE_SIZE):
        character = chr(code)
        if unicodedata.category(character) in _SKIPPED:
            forms[code] = _INSIDE
            continue
        folded = [_form(part, digits_alike) for part in fold(character)]
        if len(folded) == 1:
            forms[code] = folded[0]
        elif any(folded):
            forms[code] = _SEVERAL | len(several)
            several += [len(folded), *folded]
    return Folding(forms, np.array(several, np.uint32))


def _form(character: str, digits_alike: bool) -> int:
    if not character.isalnum():
        return int(_BETWEEN)
    if digits_alike and character.isdigit():
        return ord("0")
    alone = any(low <= ord(character) <= high for low, high in _WITHOUT_SPACES)
    return ord(character) | (int(_ALONE) if alone else 0)


def fold(text: str) -> str:
    """Lower case and without marks, compatibility forms as plain ones: a text has the words of its folded form."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(part for part in plain if unicodedata.category(part) not in _SKIPPED)


def word_hashes(
    texts: pa.LargeStringArray, digits_alike: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int32]]:
    """The words of n texts.

    Returns:
        ends: int64[n + 1]; text i's words are those from ends[i] to ends[i + 1].
        hashes: uint64[words].
        begins: int32[words], the byte of its text at which each word begins.
    """
    offsets, data = utf8(texts)
    forms, several = folding(digits_alike)
    size = int(offsets[-1] - offsets[0])
    ends = np.empty(len(texts) + 1, np.int64)
    # A word takes two bytes with what parts it from the next; only three-byte signs that stand for whole words (㍿ is
    # four) can take less, and a text of many of them.
    for room in (size // 2 + len(texts) + _LONGEST_FORM, 2 * size + len(texts) + _LONGEST_FORM):
        hashes, begins = np.empty(room, np.uint64), np.empty(room, np.int32)
        used = hash_words(offsets, data, forms, several, ends, hashes, begins)
        if used >= 0:
            break
    return ends, hashes[:used], begins[:used]


@njit(
    f"int64({OFFSETS}, {BYTES}, uint32[::1], uint32[::1], int64[::1], uint64[::1], int32[::1])",
    cache=True,
    nogil=True,
)
def hash_words(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    forms: NDArray[np.uint32],
    several: NDArray[np.uint32],
    ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    begins: NDArray[np.int32],
) -> int:
    """Fill `ends`, `hashes` and `begins`; returns how many words there are, -1 where they may not find room."""
    n = 0
    ends[0] = 0
    last = offsets[len(offsets) - 1]
    for t in range(len(offsets) - 1):
        begin, end = offsets[t], offsets[t + 1]
        i = begin
        h = SEED
        inside = False
        while i < end:
            at = i
            c = uint32(data[i])
            if c < 0x80:
                i += 1
            else:
                c, width = code_point(data, i)
                i += width
            form = _BETWEEN
            if c < TABLE_SIZE:
                form = forms[c]
            elif _SELECTORS <= c < _SELECTORS_END:
                form = _INSIDE
            place, left = int64(0), int64(0)
            if form & _SEVERAL:
                place = int64(form & _VALUE)
                left = int64(several[place])
                if n + left + (last - i) // 2 + len(offsets) - t > len(hashes):
                    return -1
            while True:
                if left:
                    place += 1
                    left -= 1
                    form = several[place]
                if form > _INSIDE:
                    if not inside or form & _ALONE:
                        if inside:
                            hashes[n] = mix(h)
                            n += 1
                        begins[n] = at - begin
                        inside = True
                        h = SEED
                    h = (h ^ uint64(form & _VALUE)) * PRIME
                if inside and (form == _BETWEEN or form & _ALONE):
                    hashes[n] = mix(h)
                    n += 1
                    inside = False
                if not left:
                    break
        if inside:
            hashes[n] = mix(h)
            n += 1
        ends[t + 1] = n
    return n
