"""The kernel of encoding: texts cut into the words of `tokenizer.word_pattern`, words merged, known words looked up.

The regular expression is most of what a byte-level BPE costs in the library, and most words of a text have come
before. Here the pattern is a loop over bytes, a table remembers the tokens of words, and a new word is merged by
rank (Sennrich et al. 2016). What comes out is what the library gives, token for token; character classes are read
from its own regular expressions.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import int32, uint8, uint64
from numpy.typing import NDArray
from tokenizers import Regex, pre_tokenizers

from pipelines.buffers import BYTES, OFFSETS, code_point
from pipelines.kernels import njit

OTHER, LETTER, MARK, NUMBER, SPACE, NEWLINE = range(6)
PROPERTIES = {LETTER: r"\p{L}", MARK: r"\p{M}", NUMBER: r"\p{N}", SPACE: r"\s", NEWLINE: r"[\r\n]"}
_RANGES = ((0, 0xD800), (0xE000, 0x33480), (0xE0000, 0xE0200))
"""Code points outside these are unassigned or private: of no class."""

LONGEST = 48
"""Bytes of a word that is remembered at most: longer ones seldom come again."""
ENTRIES, LETTERS = range(2)
"""Places in `used`: how much of the table of words is in use."""
_GOLDEN = uint64(0x9E3779B97F4A7C15)


@cache
def classes() -> NDArray[np.uint8]:
    """uint8[0x110000]: the class of every code point, as the library's regular expressions see it."""
    table = np.zeros(0x110000, np.uint8)
    for first, stop in _RANGES:
        text = "".join(map(chr, range(first, stop)))
        for kind, pattern in PROPERTIES.items():
            splitter = pre_tokenizers.Split(Regex(f"{pattern}+"), "removed")
            outside = np.zeros(len(text), bool)
            for _, (begin, end) in splitter.pre_tokenize_str(text):
                outside[begin:end] = True
            table[first:stop][~outside] = kind
    return table


@njit(inline="always")
def _kind(data: NDArray[np.uint8], i: int, table: NDArray[np.uint8]) -> tuple[Any, int]:
    """The class of the character at byte i, and its width."""
    b = data[i]
    if b < 0x80:
        return table[b], 1
    c, width = code_point(data, i)
    return table[c], width


@njit(inline="always")
def _word_end(data: NDArray[np.uint8], begin: int, end: int, table: NDArray[np.uint8], digits: int) -> int:
    """Where the word that begins at byte `begin` of a text ends; the text ends at byte `end`.

    The alternatives of the pattern in their order, each as greedy as there.
    """
    first, width = _kind(data, begin, table)
    i = begin + width
    following = uint8(255)
    if first <= MARK or first == SPACE:
        if i < end:
            following, width = _kind(data, i, table)
        if first in (LETTER, MARK) or following in (LETTER, MARK):
            while i < end:
                kind, width = _kind(data, i, table)
                if kind != LETTER and kind != MARK:
                    break
                i += width
            return i
    if first == NUMBER:
        for _ in range(1, digits):
            if i >= end:
                break
            kind, width = _kind(data, i, table)
            if kind != NUMBER:
                break
            i += width
        return i
    if first == OTHER or (data[begin] == 0x20 and following == OTHER):
        while i < end:
            kind, width = _kind(data, i, table)
            if kind != OTHER and kind != MARK:
                break
            i += width
        while i < end and (data[i] == 0x0A or data[i] == 0x0D):
            i += 1
        return i
    # White space: through its last line break, else without the last character if a word follows.
    last, after_break = begin, -1
    i = begin
    while i < end:
        kind, width = _kind(data, i, table)
        if kind < SPACE:
            break
        last = i
        i += width
        if kind == NEWLINE:
            after_break = i
    if after_break >= 0:
        return after_break
    return i if i == end or last == begin else last


@njit(inline="always")
def _rank(left: int, right: int, pairs: NDArray[np.uint64], ranks: NDArray[np.int32]) -> int:
    """The rank of merging two tokens, or -1: `pairs` is a hash table of 2^n slots, of `pair_key`s."""
    key = (uint64(left) << uint64(32)) | uint64(right) | uint64(1 << 63)
    mask = uint64(len(pairs) - 1)
    place = ((key * _GOLDEN) >> uint64(32)) & mask
    while pairs[place] != uint64(0):
        if pairs[place] == key:
            return int(ranks[place])
        place = (place + uint64(1)) & mask
    return -1


@njit("void(int64[:, ::1], uint64[::1], int32[::1])", cache=True, nogil=True)
def _fill_pairs(merges: NDArray[np.int64], pairs: NDArray[np.uint64], ranks: NDArray[np.int32]) -> None:
    mask = uint64(len(pairs) - 1)
    for rank in range(len(merges)):
        key = (uint64(merges[rank, 0]) << uint64(32)) | uint64(merges[rank, 1]) | uint64(1 << 63)
        place = ((key * _GOLDEN) >> uint64(32)) & mask
        while pairs[place] != uint64(0) and pairs[place] != key:
            place = (place + uint64(1)) & mask
        pairs[place], ranks[place] = key, int32(rank)


def pair_table(merges: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """The hash table of merges (n, 3) that `merge` reads: left token, right token and what they make, by rank."""
    slots = 1 << (2 * len(merges)).bit_length()
    pairs, ranks = np.zeros(slots, np.uint64), np.zeros(slots, np.int32)
    _fill_pairs(merges, pairs, ranks)
    return pairs, ranks


@njit("void(int64[::1], int64, int64)", cache=True, nogil=True)
def _push(heap: NDArray[np.int64], size: int, value: int) -> None:
    """Add to a binary heap of `size` values, the smallest first."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if heap[parent] <= value:
            break
        heap[child] = heap[parent]
        child = parent
    heap[child] = value


@njit("int64(int64[::1], int64)", cache=True, nogil=True)
def _pop(heap: NDArray[np.int64], size: int) -> int:
    """Take the smallest of `size` values."""
    least, value = int(heap[0]), heap[size - 1]
    parent, child = 0, 1
    while child < size - 1:
        if child + 1 < size - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[parent] = heap[child]
        parent, child = child, 2 * child + 1
    heap[parent] = value
    return least


@njit(
    f"int64({BYTES}, int64, int64, int32[::1], uint64[::1], int32[::1], int32[::1], int32[:, ::1], int64[::1],"
    " int32[::1], int64)",
    cache=True,
    nogil=True,
)
def merge(
    data: NDArray[np.uint8],
    begin: int,
    end: int,
    byte_ids: NDArray[np.int32],
    pairs: NDArray[np.uint64],
    ranks: NDArray[np.int32],
    merged: NDArray[np.int32],
    links: NDArray[np.int32],
    heap: NDArray[np.int64],
    out: NDArray[np.int32],
    at: int,
) -> int:
    """Write the tokens of one word, the bytes [begin, end), to `out` from `at` on; returns how many.

    The pair of lowest rank is merged first, of equal ones the leftmost, as in the library.

    Args:
        byte_ids: int32[256].
        pairs, ranks: see `_rank`.
        merged: the token that a rank makes.
        links: scratch (3, bytes): token, previous and next place of each symbol.
        heap: scratch, three times as long.
    """
    length = end - begin
    for i in range(length):
        links[0, i] = byte_ids[data[begin + i]]
        links[1, i] = i - 1
        links[2, i] = i + 1
    size = 0
    for i in range(length - 1):
        rank = _rank(links[0, i], links[0, i + 1], pairs, ranks)
        if rank >= 0:
            _push(heap, size, (rank << 32) | i)
            size += 1
    while size > 0:
        least = _pop(heap, size)
        size -= 1
        rank, i = least >> 32, least & 0xFFFFFFFF
        right = int(links[2, i])
        if links[0, i] < 0 or right >= length:
            continue
        now = _rank(links[0, i], links[0, right], pairs, ranks)
        if now < 0 or merged[now] != merged[rank]:
            continue
        links[0, i], links[0, right] = merged[rank], -1
        after = int(links[2, right])
        links[2, i] = after
        if after < length:
            links[1, after] = i
            rank = _rank(links[0, i], links[0, after], pairs, ranks)
            if rank >= 0:
                _push(heap, size, (rank << 32) | i)
                size += 1
        before = int(links[1, i])
        if before >= 0:
            rank = _rank(links[0, before], links[0, i], pairs, ranks)
            if rank >= 0:
                _push(heap, size, (rank << 32) | before)
                size += 1
    count = 0
    i = 0
    while i < length:
        out[at + count] = links[0, i]
        count += 1
        i = int(links[2, i])
    return count


@njit(
    f"int64({OFFSETS}, {BYTES}, uint8[::1], int64, int32[::1], uint64[::1], int32[::1], int32[::1], int64[::1],"
    " uint64[::1], int32[::1], int64[::1], uint8[::1], int64[::1], int32[::1], int32[:, ::1], int64[::1],"
    " int32[::1], int64[::1])",
    cache=True,
    nogil=True,
)
def encode_texts(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    table: NDArray[np.uint8],
    digits: int,
    byte_ids: NDArray[np.int32],
    pairs: NDArray[np.uint64],
    ranks: NDArray[np.int32],
    merged: NDArray[np.int32],
    used: NDArray[np.int64],
    slot_key: NDArray[np.uint64],
    slot_entry: NDArray[np.int32],
    begins: NDArray[np.int64],
    letters: NDArray[np.uint8],
    firsts: NDArray[np.int64],
    ids: NDArray[np.int32],
    links: NDArray[np.int32],
    heap: NDArray[np.int64],
    out: NDArray[np.int32],
    lengths: NDArray[np.int64],
) -> int:
    """Encode texts; returns how many tokens there are in all.

    Args:
        offsets, data: the texts.
        table, digits: `classes()`, and how many digits a word of them has at most.
        byte_ids, pairs, ranks, merged, links, heap: see `merge`.
        used: see `ENTRIES`; changed.
        slot_key, slot_entry: the table of words, a hash table of 2^n slots; an empty slot has key 0.
        begins, letters: entry e is the word `letters[begins[e]:begins[e + 1]]`.
        firsts, ids: its tokens are `ids[firsts[e]:firsts[e + 1]]`.
        out: the tokens, one text after the other; as long as the texts have bytes.
        lengths: out: tokens of each text.
    """
    mask = uint64(len(slot_key) - 1)
    count = 0
    for document in range(len(offsets) - 1):
        i, end = int(offsets[document]), int(offsets[document + 1])
        before = count
        while i < end:
            stop = _word_end(data, i, end, table, digits)
            length = stop - i
            if length > LONGEST:
                count += merge(data, i, stop, byte_ids, pairs, ranks, merged, links, heap, out, count)
                i = stop
                continue
            key = uint64(0)
            if length < 8:
                # The word itself is the key.
                for at in range(i, stop):
                    key = (key << uint64(8)) | uint64(data[at])
                key |= uint64(length) << uint64(56)
            else:
                for at in range(i, stop):
                    key = (key ^ uint64(data[at])) * _GOLDEN
                    key ^= key >> uint64(29)
                key |= uint64(0xFF) << uint64(56)
            place = ((key * _GOLDEN) >> uint64(32)) & mask
            while True:
                found = slot_key[place]
                if found == uint64(0):
                    entry = int(used[ENTRIES])
                    if entry + 1 == len(begins) or used[LETTERS] + LONGEST > len(letters):
                        slot_key[:] = uint64(0)
                        used[ENTRIES] = used[LETTERS] = entry = 0
                        place = ((key * _GOLDEN) >> uint64(32)) & mask
                    slot_key[place], slot_entry[place] = key, int32(entry)
                    for at in range(length):
                        letters[used[LETTERS] + at] = data[i + at]
                    used[LETTERS] += length
                    used[ENTRIES] += 1
                    begins[entry + 1] = used[LETTERS]
                    new = merge(data, i, stop, byte_ids, pairs, ranks, merged, links, heap, ids, int(firsts[entry]))
                    firsts[entry + 1] = firsts[entry] + new
                    break
                if found == key:
                    entry = int(slot_entry[place])
                    same = True
                    if length >= 8:
                        begin = begins[entry]
                        same = begins[entry + 1] - begin == length
                        at = 0
                        while same and at < length:
                            same = letters[begin + at] == data[i + at]
                            at += 1
                    if same:
                        break
                place = (place + uint64(1)) & mask
            for at in range(firsts[entry], firsts[entry + 1]):
                out[count] = ids[at]
                count += 1
            i = stop
        lengths[document] = count - before
    return count
