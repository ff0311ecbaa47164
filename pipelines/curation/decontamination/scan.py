"""Documents against the index: which of its n-grams each one holds, and the longest piece that they have in common.

One pass over a text's words for each length of n-grams, as a rule one; for most n-grams one bit of the filter is all
that is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import int32, int64, uint64
from numpy.typing import NDArray

from pipelines.buffers import utf8
from pipelines.curation.decontamination.index import POLYNOMIAL, Index
from pipelines.curation.tables import TableWriter
from pipelines.curation.words import word_hashes
from pipelines.kernels import njit

HITS_SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("id", pa.string()),
        ("grams", pa.list_(pa.int32())),
        ("anchor", pa.int32()),
        ("words", pa.int32()),
        ("excerpt", pa.string()),
    ]
)
"""The documents of a unit that hold n-grams of the index: their numbers ascending; of the longest run of words that is
also in an example its first n-gram, its words, and its beginning as the document has it."""

EXCERPT_CHARACTERS = 300

Documents = tuple[NDArray[np.int64], pa.StringArray, pa.LargeStringArray]
"""Rows in the unit, ids, texts."""


@dataclass(frozen=True)
class Hits:
    """What n texts hold of an index."""

    bounds: NDArray[np.int64]
    """[n + 1]: text i holds the n-grams `grams[bounds[i]:bounds[i + 1]]`."""
    grams: NDArray[np.int32]
    """Numbers in the index, ascending for each text, each once."""
    anchor: NDArray[np.int32]
    """[n]: the n-gram with which the text's longest match begins, -1 if there is none."""
    words: NDArray[np.int32]
    """[n]: words of the longest match: n-grams that begin with consecutive words."""
    begin: NDArray[np.int64]
    """[n]: the byte of the text with which it begins."""
    end: NDArray[np.int64]
    """[n]: the byte at which the word after it begins, or the text ends."""


def scan(index: Index, texts: pa.LargeStringArray) -> Hits:
    """Find the index's n-grams in texts."""
    ends, hashes, begins = word_hashes(texts)
    anchor, words = np.full(len(texts), -1, np.int32), np.zeros(len(texts), np.int32)
    first = np.zeros(len(texts), np.int64)
    where, found = probe(
        ends, hashes, index.lengths, index.hashes, index.starts, index.filters, index.buckets, anchor, words, first
    )
    pairs = np.unique((where << np.int64(32)) | found)
    bounds = np.searchsorted(pairs, np.arange(len(texts) + 1) << np.int64(32))
    hit = words > 0
    begin, end = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    begin[hit] = begins[first[hit]]
    for text in np.flatnonzero(hit).tolist():
        after = first[text] + words[text]
        end[text] = begins[after] if after < ends[text + 1] else texts[text].as_buffer().size
    return Hits(bounds, (pairs & 0xFFFFFFFF).astype(np.int32), anchor, words, begin, end)


def scan_unit(batches: Iterable[Documents], index: Index, location: str) -> dict[str, int]:
    """Write a unit's hits, of `HITS_SCHEMA`; returns how many documents and bytes there were, and how many had some.

    The file depends on the documents and their order, not on how they are put into batches.
    """
    documents = size = 0
    with TableWriter(location, HITS_SCHEMA) as writer:
        for positions, ids, texts in batches:
            hits = scan(index, texts)
            for row in np.flatnonzero(hits.words).tolist():
                grams = hits.grams[hits.bounds[row] : hits.bounds[row + 1]].tolist()
                content = texts[row].as_buffer().to_pybytes()[hits.begin[row] : hits.end[row]]
                words = int(hits.words[row])
                writer.add(
                    (int(positions[row]), ids[row].as_py(), grams, int(hits.anchor[row]), words, excerpt(content))
                )
            documents += len(texts)
            offsets, _ = utf8(texts)
            size += int(offsets[-1] - offsets[0])
    return {"documents": documents, "bytes": size, "hits": writer.rows}


def excerpt(content: bytes) -> str:
    """The beginning of a piece of UTF-8, white space as single blanks."""
    text = " ".join(content[: 8 * EXCERPT_CHARACTERS].decode("utf-8", "ignore").split())
    return text if len(text) <= EXCERPT_CHARACTERS else text[: EXCERPT_CHARACTERS - 1] + "…"


@njit(
    "Tuple((int64[::1], int64[::1]))(int64[::1], uint64[::1], int64[::1], uint64[::1], int64[::1], uint64[::1],"
    " int32[::1], int32[::1], int32[::1], int64[::1])",
    cache=True,
    nogil=True,
)
def probe(
    ends: NDArray[np.int64],
    words: NDArray[np.uint64],
    lengths: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    starts: NDArray[np.int64],
    filters: NDArray[np.uint64],
    buckets: NDArray[np.int32],
    anchor: NDArray[np.int32],
    longest: NDArray[np.int32],
    first: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All occurrences of the index's n-grams: (text, n-gram) for each.

    Fills `anchor`, `longest` and `first`: of each text's longest match the first n-gram, the words, and the place of
    the first word among all words.
    """
    shift = uint64(64)
    size = len(buckets) - 1
    while size > 1:
        size //= 2
        shift -= uint64(1)
    where, found = np.empty(64, np.int64), np.empty(64, np.int64)
    count = 0
    for t in range(len(ends) - 1):
        begin, end = ends[t], ends[t + 1]
        for k in range(len(lengths)):
            n = lengths[k]
            own = starts[k]
            mask = uint64((starts[k + 1] - own) * 64 - 1)
            leading = uint64(1)
            for _ in range(n):
                leading *= POLYNOMIAL
            h = uint64(0)
            run = start = 0
            started_with = int32(-1)
            for i in range(begin, min(end, begin + n - 1)):
                h = h * POLYNOMIAL + words[i]
            for i in range(begin + n - 1, end):
                h = h * POLYNOMIAL + words[i]
                if i - n >= begin:
                    h -= words[i - n] * leading
                bit = h & mask
                if not (filters[own + int64(bit >> uint64(6))] >> (bit & uint64(63))) & uint64(1):
                    run = 0
                    continue
                bucket = int64(h >> shift)
                place = int64(buckets[bucket])
                stop = int64(buckets[bucket + 1])
                while place < stop and hashes[place] < h:
                    place += 1
                if place == stop or hashes[place] != h:
                    run = 0
                    continue
                if count == len(where):
                    more = np.empty(2 * count, np.int64)
                    more[:count] = where
                    where = more
                    more = np.empty(2 * count, np.int64)
                    more[:count] = found
                    found = more
                where[count] = t
                found[count] = place
                count += 1
                if run == 0:
                    start = i - n + 1
                    started_with = int32(place)
                run += 1
                if run + n - 1 > longest[t]:
                    longest[t] = run + n - 1
                    anchor[t] = started_with
                    first[t] = start
    return where[:count].copy(), found[:count].copy()
