"""Word tokens as datatrove has them: an approximation of spaCy's rule-based tokenizers, one scan over code points.

Text is split at white space; from each piece punctuation is taken off at the ends, mark by mark, and the rest is split
inside at dots, commas, hyphens, slashes and clitics. What is left out are lists of exceptions (titles, months,
emoticons) and units after numbers; agreement of decisions is measured by `tests.benchmarks.curation.agreement`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import uint8
from numpy.typing import NDArray

from pipelines.curation.signals.characters import LETTER, TABLE_SIZE
from pipelines.kernels import njit

OTHER, ENGLISH, GERMAN, FRENCH = range(4)
STYLES = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH}
"""Languages whose tokenizers differ from the base."""

PREFIX, SUFFIX, HYPHEN, QUOTE, SYMBOL, TERMINAL = (1 << bit for bit in range(6))

_PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
_SYMBOLS = "\"#$%&'()*+,-/:;<=>@[\\]^_`{|}~«´»–—’“”„…∶━►、〈〉《》「」【】％（），１：；～"
_TERMINALS = (
    "!.?։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᭽᭾᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼⹓⹔。꓿"
    "꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡𐩖𐩗𐽕𐽖𐽗𐽘𐽙𐾆𐾇𐾈𐾉𑁇𑁈𑂾𑂿𑃀𑃁𑅁𑅂𑅃𑇅𑇆𑇍𑇞𑇟𑈸𑈹𑈻𑈼𑊩𑑋𑑌𑗂𑗃𑗉𑗊"
    "𑗋𑗌𑗍𑗎𑗏𑗐𑗑𑗒𑗓𑗔𑗕𑗖𑗗𑙁𑙂𑜼𑜽𑜾𑥄𑥆𑩂𑩃𑪛𑪜𑱁𑱂𑻷𑻸𑽃𑽄𖩮𖩯𖫵𖬷𖬸𖭄𖺘𛲟𝪈"
)
"""Unicode's Sentence_Terminal property, as FineWeb's end marks."""


@cache
def mark_classes() -> NDArray[np.uint8]:
    """A byte of classes for each code point below TABLE_SIZE."""
    classes = np.zeros(TABLE_SIZE, np.uint8)

    def add(characters: str, value: int) -> None:
        for character in characters:
            classes[ord(character)] |= value

    add("§%=—–" + _PUNCTUATION + _QUOTES + _CURRENCY, PREFIX)
    add("—–" + _PUNCTUATION + _QUOTES, SUFFIX)
    add("-–—~", HYPHEN)
    add(_QUOTES, QUOTE)
    add(_SYMBOLS + _TERMINALS + "".join(map(chr, [*range(32), *range(127, 160)])), SYMBOL)
    add(_TERMINALS, TERMINAL)
    # Category So: icons are prefixes and suffixes.
    for first, last in ((0x2190, 0x2BFF), (0x1F000, 0x1FAFF)):
        classes[first : last + 1] |= PREFIX | SUFFIX
    classes[[ord(character) for character in "©®°™"]] |= PREFIX | SUFFIX
    return classes


@njit("boolean(uint32[::1], int64, uint8[::1])", cache=True, nogil=True, inline="always")
def is_letter(codes: NDArray[np.uint32], i: int, classes: NDArray[np.uint8]) -> bool:
    """Whether the code point at i is a letter."""
    return codes[i] < TABLE_SIZE and (classes[codes[i]] & LETTER) != 0


@njit("boolean(uint32[::1], int64)", cache=True, nogil=True, inline="always")
def is_digit(codes: NDArray[np.uint32], i: int) -> bool:
    """Whether it is 0 to 9."""
    return 0x30 <= codes[i] <= 0x39


@njit(
    "int64(uint32[::1], int64, int64, uint8[::1], uint8[::1], uint32[::1], int64, int32[::1], int32[::1], int64)",
    cache=True,
    nogil=True,
)
def split_piece(
    codes: NDArray[np.uint32],
    a: int,
    b: int,
    classes: NDArray[np.uint8],
    marks: NDArray[np.uint8],
    lower: NDArray[np.uint32],
    style: int,
    begin: NDArray[np.int32],
    end: NDArray[np.int32],
    n: int,
) -> int:
    """Append the tokens of the piece `codes[a:b]`, which has no white space, to begin and end; returns their number."""
    # Marks at the front.
    while a < b:
        c = codes[a]
        kind = marks[c] if c < TABLE_SIZE else uint8(0)
        if c == 0x2E:
            stop = a
            while stop < b and codes[stop] == 0x2E:
                stop += 1
            if stop - a < 2:
                break
            begin[n], end[n] = a, stop
            n += 1
            a = stop
        elif kind & PREFIX or (c == 0x2B and not (a + 1 < b and is_digit(codes, a + 1))):
            begin[n], end[n] = a, a + 1
            n += 1
            a += 1
        elif (
            style == FRENCH
            and a + 2 < b
            and (c | 0x20) in (0x64, 0x6C, 0x6E)
            and codes[a + 1] in (0x27, 0x2019)
            and is_letter(codes, a + 2, classes)
        ):
            begin[n], end[n] = a, a + 2
            n += 1
            a += 2
        else:
            break
    # Marks at the end, found from the back; they are appended after the middle.
    last = b
    while b > a:
        c = codes[b - 1]
        kind = marks[c] if c < TABLE_SIZE else uint8(0)
        if c == 0x2E:
            if b - 2 >= a and codes[b - 2] == 0x2E:
                while b > a and codes[b - 1] == 0x2E:
                    b -= 1
                continue
            if b - 1 == a:
                b -= 1
                continue
            p = codes[b - 2]
            inner = False
            for i in range(a, b - 1):
                if codes[i] == 0x2E:
                    inner = True
            if inner and b - a <= 8 and is_letter(codes, b - 2, classes) and codes[b - 3] == 0x2E:
                break
            letter = is_letter(codes, b - 2, classes)
            small = letter and lower[p] == p
            strip = small or (p < TABLE_SIZE and marks[p] & QUOTE) or p in (0x25, 0xB2, 0x2D, 0x2B)
            strip = strip or (style != GERMAN and is_digit(codes, b - 2))
            strip = strip or (p < TABLE_SIZE and style != FRENCH and marks[p] & SUFFIX != 0)
            if letter and not small and b - 3 >= a and is_letter(codes, b - 3, classes):
                q = codes[b - 3]
                strip = strip or lower[q] != q
            if small and b - 2 == a:
                strip = False
            if not strip:
                break
            b -= 1
        elif kind & SUFFIX or (c == 0x2F and style == GERMAN):
            b -= 1
        elif b - 2 >= a and is_digit(codes, b - 2) and (
            c == 0x2B
            or (kind & PREFIX and c not in (0x25, 0x3D, 0xA7))
            or (c == 0x25 and style == FRENCH)
        ):  # fmt: skip
            # A sign, a currency or a percentage after a number.
            b -= 1
        elif (
            style in (ENGLISH, OTHER)
            and c in (0x73, 0x53)
            and b - 2 >= a
            and codes[b - 2] in (0x27, 0x2019)
            and b - 2 > a
        ):
            b -= 2
        else:
            break
    # The middle.
    address = False
    for i in range(a, b):
        if codes[i] == 0x3A and i + 2 < b and codes[i + 1] == 0x2F and codes[i + 2] == 0x2F:
            address = True
        if codes[i] == 0x40 and i > a:
            address = True
    if b - a > 4 and codes[a] | 0x20 == 0x77 and codes[a + 1] | 0x20 == 0x77 and codes[a + 3] == 0x2E:
        address = True
    start = a
    i = a + 1
    while i < b - 1 and not address:
        c = codes[i]
        p, q = codes[i - 1], codes[i + 1]
        before, after = is_letter(codes, i - 1, classes), is_letter(codes, i + 1, classes)
        number = is_digit(codes, i - 1)
        mark = False
        kind = marks[c] if c < TABLE_SIZE else uint8(0)
        width = 1
        if c == 0x2E:
            if q == 0x2E:
                while i + width < b and codes[i + width] == 0x2E:
                    width += 1
                mark = True
            else:
                mark = before and after and lower[p] == p and lower[q] != q
        elif c == 0x2026:
            mark = True
        elif c == 0x2C:
            mark = before and after
        elif kind & HYPHEN:
            if style == GERMAN:
                mark = c == 0x2D and number and is_digit(codes, i + 1)
                if c == 0x2D and q == 0x2D and before and i + 2 < b and is_letter(codes, i + 2, classes):
                    mark, width = True, 2
            else:
                mark = (before or (number and style == ENGLISH)) and after
                if c == 0x2D and number and (is_digit(codes, i + 1) or q == 0x2D):
                    mark = True
                if q == 0x2D and c == 0x2D and before and i + 2 < b and is_letter(codes, i + 2, classes):
                    mark, width = True, 2
        elif c in (0x3A, 0x3C, 0x3E, 0x3D):
            mark = (before or (number and style != GERMAN)) and after
        elif c == 0x2F:
            mark = (before or number) and (after or (style == GERMAN and is_digit(codes, i + 1)))
        elif style == GERMAN and (c in (0x21, 0x3F, 0x28, 0x29, 0x5B, 0x5D) or (kind & QUOTE and c != 0x27)):
            mark = before and after
        elif c in (0x2B, 0x2A, 0x5E) and style != GERMAN:
            mark = number and (is_digit(codes, i + 1) or q == 0x2D)
        elif c in (0x27, 0x2019) and before and after and style != GERMAN:
            if style == FRENCH:
                begin[n], end[n] = start, i + 1
                n += 1
                start = i + 1
            elif style == ENGLISH:
                rest = b - i - 1
                x = codes[i + 1] | 0x20
                y = codes[i + 2] | 0x20 if rest == 2 else 0
                if rest == 1 and x == 0x74 and i - 1 > start and codes[i - 1] | 0x20 == 0x6E:
                    begin[n], end[n] = start, i - 1
                    n += 1
                    start = i - 1
                elif (rest == 1 and x in (0x6D, 0x64)) or (
                    rest == 2 and ((x == 0x6C and y == 0x6C) or (x in (0x72, 0x76) and y == 0x65))
                ):
                    begin[n], end[n] = start, i
                    n += 1
                    start = i
        if mark:
            if i > start:
                begin[n], end[n] = start, i
                n += 1
            begin[n], end[n] = i, i + width
            n += 1
            start = i + width
            i = start
        i += 1
    if start < b:
        begin[n], end[n] = start, b
        n += 1
    # The marks that were at the end, from the front again.
    i = b
    while i < last:
        width = 1
        if codes[i] == 0x2E:
            while i + width < last and codes[i + width] == 0x2E:
                width += 1
        elif codes[i] in (0x27, 0x2019) and style in (ENGLISH, OTHER) and i + 1 < last and codes[i + 1] | 0x20 == 0x73:
            width = 2
        begin[n], end[n] = i, i + width
        n += 1
        i += width
    return n
