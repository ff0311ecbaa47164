"""Where private data may stand: one scan over the bytes of a batch, so that expressions look at few places only."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import BYTES, OFFSETS, utf8
from pipelines.kernels import njit

ADDRESS, NUMBER, TOKEN, HEXADECIMAL = range(4)
"""An @; at least six digits, or four parts with dots; a word of letters and digits; groups with colons."""

DIGIT, LETTER, SEPARATOR, JOINER, HEX = (1 << bit for bit in range(5))
LEAST_DIGITS, LEAST_TOKEN, LONG_TOKEN = 6, 9, 16


@cache
def _classes() -> NDArray[np.uint8]:
    classes = np.zeros(256, np.uint8)
    for byte in range(128):
        character = chr(byte)
        classes[byte] = (
            DIGIT * character.isdigit()
            | LETTER * character.isalpha()
            | SEPARATOR * (character in " .-()/+")
            | JOINER * (character in "_-.")
            | HEX * (character in "0123456789abcdefABCDEF")
        )
    return classes


def candidates(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """(c, 4): kind, row, first byte and last byte + 1 in the batch's bytes, sorted by row and place within a kind."""
    offsets, data = utf8(texts)
    room = 4096
    while True:
        found = np.empty((room, 4), np.int64)
        count = find(offsets, data, _classes(), found)
        if count <= room:
            return found[:count]
        room = count


@njit(f"int64({OFFSETS}, {BYTES}, uint8[::1], int64[:, ::1])", cache=True, nogil=True)
def find(
    offsets: NDArray[np.int64], data: NDArray[np.uint8], classes: NDArray[np.uint8], found: NDArray[np.int64]
) -> int:
    """Write candidates while there is room; returns how many there are."""
    count = 0
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        while i < end:
            b = data[i]
            kind = classes[b]
            if b == 0x40:
                if count < len(found):
                    found[count, 0], found[count, 1], found[count, 2], found[count, 3] = ADDRESS, row, i, i + 1
                count += 1
                i += 1
            elif kind & (DIGIT | LETTER):
                # A word: letters, digits and what joins them.
                begin = i
                letters = digits = colons = 0
                hexadecimal = True
                while i < end and classes[data[i]] & (DIGIT | LETTER | JOINER):
                    k = classes[data[i]]
                    if k & DIGIT:
                        digits += 1
                    elif k & LETTER:
                        letters += 1
                    if not k & HEX:
                        hexadecimal = False
                    i += 1
                if letters > 0 and ((digits >= 2 and i - begin >= LEAST_TOKEN) or (digits and i - begin >= LONG_TOKEN)):
                    if count < len(found):
                        found[count, 0], found[count, 1], found[count, 2], found[count, 3] = TOKEN, row, begin, i
                    count += 1
                if hexadecimal and i < end and data[i] == 0x3A and i - begin <= 4:
                    j = i
                    while j < end and (classes[data[j]] & HEX or data[j] == 0x3A or data[j] == 0x2E):
                        if data[j] == 0x3A:
                            colons += 1
                        j += 1
                    if colons >= 2:
                        if count < len(found):
                            found[count, 0], found[count, 1] = HEXADECIMAL, row
                            found[count, 2], found[count, 3] = begin, j
                        count += 1
                        i = j
                        continue
                if digits > 0:
                    # A number may go on behind separators: back to where the word's last run of digits begins.
                    j = i
                    while j > begin and classes[data[j - 1]] & (DIGIT | SEPARATOR):
                        j -= 1
                    while j < i and not classes[data[j]] & DIGIT:
                        j += 1
                    if j < i:
                        stop, digits, dots, gap = j, 0, 0, 0
                        p = j
                        while p < end:
                            k = classes[data[p]]
                            if k & DIGIT:
                                digits += 1
                                gap = 0
                                stop = p + 1
                            elif k & SEPARATOR and gap < 3:
                                gap += 1
                                if data[p] == 0x2E:
                                    dots += 1
                            else:
                                break
                            p += 1
                        if digits >= LEAST_DIGITS or (dots >= 3 and digits >= 4):
                            if count < len(found):
                                found[count, 0], found[count, 1] = NUMBER, row
                                found[count, 2], found[count, 3] = j, stop
                            count += 1
                            i = max(i, stop)
            elif b == 0x3A and i + 1 < end and data[i + 1] == 0x3A:
                j = i
                while j < end and (classes[data[j]] & HEX or data[j] == 0x3A or data[j] == 0x2E):
                    j += 1
                if j - i >= 4:
                    if count < len(found):
                        found[count, 0], found[count, 1] = HEXADECIMAL, row
                        found[count, 2], found[count, 3] = i, j
                    count += 1
                i = j
            elif b == 0x2D and i + 10 < end and data[i + 1] == 0x2D and data[i + 5] == 0x42 and data[i + 4] == 0x2D:
                # "-----BEGIN": a key in armour.
                if count < len(found):
                    found[count, 0], found[count, 1], found[count, 2], found[count, 3] = TOKEN, row, i, i + 5
                count += 1
                i += 5
            else:
                i += 1
    return count
