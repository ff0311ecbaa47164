"""What the kernels know of characters: a byte of classes and the lower-case form of every code point."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.curation.signals import reference

SPACE, LETTER, ALPHANUMERIC, DECIMAL, UPPER, PUNCTUATION, TERMINAL, BULLET = (1 << bit for bit in range(8))

TABLE_SIZE = 0x32400
"""No code point from here on has a class: unassigned, private, or marks and tags."""


class Characters(NamedTuple):
    """Tables indexed by code point, for those below TABLE_SIZE."""

    classes: NDArray[np.uint8]
    lower: NDArray[np.uint32]


@cache
def tables() -> Characters:
    """Built once a process, in about a quarter of a second."""
    classes = np.zeros(TABLE_SIZE, np.uint8)
    lower = np.arange(TABLE_SIZE, dtype=np.uint32)
    for code in range(TABLE_SIZE):
        character = chr(code)
        value = 0
        if character.isalnum():
            value = ALPHANUMERIC
            if character.isalpha():
                value |= LETTER
            if character.isdecimal():
                value |= DECIMAL
        elif reference.is_punctuation(character):
            value = PUNCTUATION
        elif character.isspace():
            value = SPACE
        if value != ALPHANUMERIC | LETTER or code < 0x3000 or 0xA640 <= code < 0xAC00 or code >= 0xFB00:
            if character.isupper():
                value |= UPPER
            small = character.lower()
            if len(small) == 1:
                lower[code] = ord(small)
        classes[code] = value
    for character in reference.TERMINALS:
        classes[ord(character)] |= TERMINAL
    for character in reference.BULLETS:
        classes[ord(character)] |= BULLET
    return Characters(classes, lower)
