"""Many words and phrases found in many texts at once: a trie per list, walked by one kernel over a batch's bytes.

A phrase is found where it stands as whole words: the character before its first and the one after its last must not
make a longer word of it. A phrase's edge that is a letter or digit must not touch another, one that is a symbol must
not touch a letter or digit either, as in C4's published expression `(?:\\W|^)(w1|w2)(?:\\W|$)`; in scripts written
without spaces phrases stand anywhere, as C4 has it for Chinese and Thai. Case does not count, white space in a phrase
is any run of white space, and a phrase with accents is found in composed and decomposed form. At each place the
longest phrase is found.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import BYTES, OFFSETS, code_point, utf8
from pipelines.curation.safety.characters import LIMIT, OTHER, SPACE, UNSPACED, WORD, fold, tables
from pipelines.kernels import njit

ROW, BEGIN, END, ENTRY, PLACE = range(5)
"""Columns of `Found.matches`."""

_POINT_BITS = 21
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Found:
    """What was found in n texts."""

    matches: NDArray[np.int64]
    """(m, 5): row, first byte and last byte + 1 in the row's text, entry, number of words before it in the text."""
    words: NDArray[np.int64]
    """(n,) words of each text: runs of word characters, and single characters of scripts without spaces."""


class Phrases:
    """Lists of phrases, ready to be looked for.

    Args:
        lists: each list's phrases; a text is searched for those of one list.
    """

    def __init__(self, lists: Sequence[Iterable[str]]) -> None:
        self.entries: list[tuple[int, str]] = []
        """Entry -> (its list, the phrase); the same phrase twice in a list is one entry."""
        edges: dict[tuple[int, int], int] = {}
        nodes = len(lists)
        ends: dict[int, int] = {}
        for number, phrases in enumerate(lists):
            for phrase in phrases:
                added = False
                for form in dict.fromkeys(fold(unicodedata.normalize(name, phrase)) for name in ("NFC", "NFD")):
                    node = number
                    for character in form:
                        node = edges.setdefault((node, ord(character)), nodes)
                        nodes += node == nodes
                    if form and node not in ends:
                        ends[node], added = len(self.entries), True
                if added:
                    self.entries.append((number, phrase))
        self._accepts = np.full(nodes, -1, np.int32)
        self._accepts[list(ends)] = list(ends.values())
        self._keys, self._children = _hashed(edges)

    def find(self, texts: pa.LargeStringArray, lists: Sequence[int], overlapping: bool = False) -> Found:
        """Look for each text's list (a number; -1: none) in it.

        Args:
            overlapping: find a phrase that begins inside another one too, such as "Hall" in "City Hall".
        """
        offsets, data = utf8(texts)
        classes, folded = tables()
        roots, words = np.asarray(lists, np.int64), np.zeros(len(texts), np.int64)
        room = 1024
        while True:
            matches = np.empty((room, 5), np.int64)
            count = _find(
                offsets, data, roots, classes, folded, self._keys, self._children, self._accepts, overlapping, matches,
                words,
            )  # fmt: skip
            if count <= room:
                return Found(matches[:count], words)
            room = count


def _hashed(edges: dict[tuple[int, int], int]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Edges as a table of open addressing, at most half full: (node, code point) -> child."""
    bits = max(4, (2 * len(edges)).bit_length())
    keys, children = np.full(1 << bits, -1, np.int64), np.zeros(1 << bits, np.int32)
    for (node, point), child in edges.items():
        key = node << _POINT_BITS | point
        slot = (key * int(_MULTIPLIER) & 0xFFFFFFFFFFFFFFFF) >> (64 - bits)
        while keys[slot] >= 0:
            slot = (slot + 1) & ((1 << bits) - 1)
        keys[slot], children[slot] = key, child
    return keys, children


@njit(inline="always")
def _class_of(point: int, classes: NDArray[np.uint8]) -> int:
    if point < LIMIT:
        return int(classes[point])
    return UNSPACED if point < 0x40000 else OTHER


@njit(inline="always")
def _touches(edge: int, neighbour: int) -> bool:
    """Whether a neighbouring character makes a longer word of a phrase with such an edge."""
    return (edge == WORD and neighbour == WORD) or (edge == OTHER and neighbour in (WORD, UNSPACED))


_SIGNATURE = (
    f"int64({OFFSETS}, {BYTES}, int64[::1], uint8[::1], int32[::1], int64[::1], int32[::1], int32[::1], boolean, "
    "int64[:, ::1], int64[::1])"
)


@njit(_SIGNATURE, cache=True, nogil=True)
def _find(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    roots: NDArray[np.int64],
    classes: NDArray[np.uint8],
    folded: NDArray[np.int32],
    keys: NDArray[np.int64],
    children: NDArray[np.int32],
    accepts: NDArray[np.int32],
    overlapping: bool,
    matches: NDArray[np.int64],
    words: NDArray[np.int64],
) -> int:
    """Write matches while there is room; returns how many there are. Counts the words of each text."""
    count = 0
    mask = len(keys) - 1
    bits = 0
    while (1 << bits) < len(keys):
        bits += 1
    shift = np.uint64(64 - bits)
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        i, skip = begin, begin
        before, seen = SPACE, 0
        while i < end:
            point, size = code_point(data, i)
            kind = _class_of(point, classes)
            if roots[row] >= 0 and i >= skip and kind != SPACE and not _touches(kind, before):
                node, j, edge, stop, entry = roots[row], i, kind, i, -1
                while j < end:
                    p, length = code_point(data, j)
                    c = _class_of(p, classes)
                    edge = c
                    if p < LIMIT:
                        p = folded[p]
                    key = np.int64(node) << _POINT_BITS | np.int64(p)
                    slot = np.int64((np.uint64(key) * _MULTIPLIER) >> shift)
                    while keys[slot] >= 0 and keys[slot] != key:
                        slot = (slot + 1) & mask
                    if keys[slot] < 0:
                        break
                    node = children[slot]
                    j += length
                    while c == SPACE and j < end:
                        p, length = code_point(data, j)
                        if _class_of(p, classes) != SPACE:
                            break
                        j += length
                    if accepts[node] >= 0:
                        after = SPACE
                        if j < end:
                            p, length = code_point(data, j)
                            after = _class_of(p, classes)
                        if not _touches(edge, after):
                            stop, entry = j, accepts[node]
                if entry >= 0:
                    if count < len(matches):
                        matches[count, ROW], matches[count, ENTRY], matches[count, PLACE] = row, entry, seen
                        matches[count, BEGIN], matches[count, END] = i - begin, stop - begin
                    count += 1
                    if not overlapping:
                        skip = stop
            if kind == UNSPACED or (kind == WORD and before != WORD):
                seen += 1
            before = kind
            i += size
        words[row] = seen
    return count
