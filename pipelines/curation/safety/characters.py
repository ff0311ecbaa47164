"""What characters are to a matcher of words: part of a word, white space or neither, and what they are without case."""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

OTHER, WORD, UNSPACED, SPACE = range(4)
"""Symbols and punctuation; letters, digits, marks and the underscore; the same in scripts without spaces; white space.

Words are made of Unicode's word characters (UTS #18, annex C): unlike Python's `\\w`, marks and joiners are among them,
without which a word of Hindi or Persian would end inside itself.
"""

LIMIT = 0x20000
"""The tables' length: above are ideographs (one class, no case) and a few symbols."""

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark and zero
    (0x3040, 0x30FF),  # kana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # ideographs
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D),  # half-width kana
)
_JOINERS = (0x200C, 0x200D)


@cache
def tables() -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Class and case-folded form of each code point below `LIMIT`."""
    classes, folded = np.zeros(LIMIT, np.uint8), np.arange(LIMIT, dtype=np.int32)
    for point in range(LIMIT):
        character = chr(point)
        classes[point] = _class(point, character)
        folded[point] = ord(" ") if classes[point] == SPACE else ord(_folded(character))
    return classes, folded


def fold(text: str) -> str:
    """A text as the matcher compares it: without case, every run of white space one space, none at the ends."""
    return " ".join("".join(_folded(character) for character in text).split())


def _class(point: int, character: str) -> int:
    if character.isspace():
        return SPACE
    category = unicodedata.category(character)[0]
    # A variation selector is part of how the character before it looks, not of a word.
    if not (category in "LNM" or character == "_" or point in _JOINERS) or 0xFE00 <= point <= 0xFE0F:
        return OTHER
    return UNSPACED if any(first <= point <= last for first, last in _UNSPACED) else WORD


def _folded(character: str) -> str:
    """Simple case folding (Unicode's CaseFolding.txt, C and S), and the Turkish dotted capital as i."""
    if character == "İ":
        return "i"
    for form in (character.casefold(), character.lower()):
        if len(form) == 1:
            return form
    return character
