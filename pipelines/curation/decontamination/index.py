"""The n-grams of evaluation examples: sorted hashes, the examples that hold each, and filters before the search.

An n-gram's hash is the polynomial w1 p^(n-1) + ... + wn modulo 2^64 of its words' hashes (`curation.words`), which
can be rolled from one n-gram to the next (Karp and Rabin 1987). Words' hashes are spread over all 64 bits, so sums of
odd multiples of them are too: among a million n-grams a foreign one is taken for one of them once in 2 * 10^13.

A million different n-grams take about 32 MB in memory: 8 bytes the hash and 1 its length, 8 the bounds of its
examples, 4 each example, 2 to 4 the filter, 4 to 8 the table of prefixes; and the texts once, for the report.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numba import int64, uint64
from numpy.typing import NDArray

from pipelines import storage
from pipelines.buffers import texts_of, utf8
from pipelines.curation import words
from pipelines.curation.decontamination import examples as examples_of
from pipelines.curation.decontamination.examples import files_of
from pipelines.curation.decontamination.settings import DecontaminationSettings
from pipelines.curation.words import word_hashes
from pipelines.kernels import njit

VERSION = 1
"""Part of the hash of what depends on an index: raise it when texts get other n-grams."""

POLYNOMIAL = uint64(0x9E3779B97F4A7C15)
FILTER_BITS = 16
"""Bits of the filter for each n-gram, at least: one foreign n-gram in so many gets through it."""


@dataclass(frozen=True)
class Index:
    """G different n-grams of E examples. An example's numbers are its places in `task`, `file`, `row`, `key`."""

    n: int
    min_words: int
    tasks: tuple[str, ...]
    """Names, in the order of the settings."""
    files: tuple[str, ...]
    """Base names."""
    task: NDArray[np.int32]
    """[E]: number of the task."""
    file: NDArray[np.int32]
    """[E]: number of the file."""
    row: NDArray[np.int64]
    """[E]: line in the file, from 1."""
    words: NDArray[np.int64]
    """[E]: words of all its texts."""
    grams: NDArray[np.int32]
    """[E]: different n-grams; 0 for an example that cannot be checked."""
    key: NDArray[np.bytes_]
    """[E]: 32 hex digits, of `examples.row_key`."""
    owner: NDArray[np.int32]
    """[texts]: example of each text."""
    lengths: NDArray[np.int64]
    """Words of the n-grams, ascending: those of short examples are shorter than n."""
    hashes: NDArray[np.uint64]
    """[G]: ascending."""
    length: NDArray[np.uint8]
    """[G]: which of `lengths` each has."""
    bounds: NDArray[np.int64]
    """[G + 1]: n-gram g is held by the examples `holders[bounds[g]:bounds[g + 1]]`."""
    holders: NDArray[np.int32]
    """Numbers of examples, ascending for each n-gram."""
    offsets: NDArray[np.int64]
    """[texts + 1]: text t is `data[offsets[t]:offsets[t + 1]]`, UTF-8."""
    data: NDArray[np.uint8]
    filters: NDArray[np.uint64]
    """For each length a power of two of bits; an n-gram sets the one that its hash's lowest bits name."""
    starts: NDArray[np.int64]
    """[lengths + 1]: where in `filters` those of each length begin."""
    buckets: NDArray[np.int32]
    """[2^p + 1]: hashes whose p highest bits are b stand at buckets[b] to buckets[b + 1]."""

    def save(self, location: str) -> None:
        """One file; equal examples give equal bytes."""
        head = {name: getattr(self, name) for name in ("n", "min_words", "tasks", "files")} | {"version": _VERSIONS}
        sink = io.BytesIO()
        # `savez` has arguments of its own, one of them is called `file`.
        arrays = {f"index_{name}": getattr(self, name) for name in _ARRAYS}
        np.savez(sink, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)
        storage.write_bytes(location, sink.getvalue())

    @staticmethod
    def load(location: str) -> Index:
        """Raises ValueError for what is no index of this version."""
        with np.load(io.BytesIO(storage.read_bytes(location)), allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            if head.pop("version") != _VERSIONS:
                raise ValueError(f"{location}: an index of another version; delete it, it is made again")
            arrays = {name: stored[f"index_{name}"] for name in _ARRAYS}
        head |= {name: tuple(head[name]) for name in ("tasks", "files")}
        return _complete(head, arrays)

    def texts(self, example: int) -> pa.LargeStringArray:
        """The texts of an example."""
        first, last = np.searchsorted(self.owner, [example, example + 1])
        return texts_of(self.offsets[first : last + 1], self.data)

    def place(self, example: int, gram: int) -> tuple[str, int, int] | None:
        """Where an example holds an n-gram first: the text and its bytes (begin, end); None if it does not."""
        texts = self.texts(example)
        ends, hashes, begins = word_hashes(texts)
        lengths = gram_lengths(ends, np.zeros(len(texts), np.int32), self.n, self.min_words)
        found, owner, first = grams_of(ends, hashes, lengths)
        at = np.flatnonzero(found == self.hashes[gram])
        if not len(at):
            return None
        text = int(owner[at[0]])
        last = int(first[at[0]] + lengths[text])
        content = texts[text].as_py()
        end = int(begins[last]) if last < ends[text + 1] else len(content.encode())
        return content, int(begins[first[at[0]]]), end


_VERSIONS = [VERSION, words.VERSION]
_ARRAYS = (
    "task",
    "file",
    "row",
    "words",
    "grams",
    "key",
    "owner",
    "lengths",
    "hashes",
    "length",
    "bounds",
    "holders",
    "offsets",
    "data",
)


def index_fingerprint(settings: DecontaminationSettings) -> str:
    """What an index depends on as a hash: the files' names and bytes, wherever they lie, and how they are read.

    Raises FileNotFoundError for a path that names no file.
    """
    tasks = {
        name: [task.fields, task.joined, [[base_name(path), storage.file_fingerprint(path)] for path in paths]]
        for (name, paths), task in zip(files_of(settings).items(), settings.tasks.values(), strict=True)
    }
    return storage.fingerprint(["decontamination", _VERSIONS, settings.n, settings.min_words, list(tasks.items())])


def base_name(location: str) -> str:
    """The last part of a location."""
    return location.rsplit("/", 1)[-1]


def build_index(settings: DecontaminationSettings) -> Index:
    """Read the evaluation files. Raises what `examples.read` does."""
    found = examples_of.read(settings)
    examples = len(found.key)
    owner = np.array(found.owner, np.int32)
    ends, hashes, _ = word_hashes(found.texts)
    lengths = gram_lengths(ends, owner, settings.n, settings.min_words)
    keys, of_text, _ = grams_of(ends, hashes, lengths)
    holders = owner[of_text]
    order = np.lexsort((holders, keys))
    keys, holders, of_text = keys[order], holders[order], of_text[order]
    # An n-gram that stands in an example twice counts once.
    first = np.ones(len(keys), bool)
    first[1:] = (keys[1:] != keys[:-1]) | (holders[1:] != holders[:-1])
    keys, holders, of_text = keys[first], holders[first], of_text[first]
    different, bounds = np.unique(keys, return_index=True)
    counts = np.bincount(owner, weights=np.diff(ends), minlength=examples)
    offsets, data = utf8(found.texts)
    known = np.unique(lengths[lengths > 0])
    head = {
        "n": settings.n,
        "min_words": settings.min_words,
        "tasks": tuple(found.tasks),
        "files": tuple(map(base_name, found.files)),
    }
    arrays = {
        "task": np.array(found.task, np.int32),
        "file": np.array(found.file, np.int32),
        "row": np.array(found.row, np.int64),
        "words": counts.astype(np.int64),
        "grams": np.bincount(holders, minlength=examples).astype(np.int32),
        "key": np.array(found.key, "S32"),
        "owner": owner,
        "lengths": known,
        "hashes": different,
        "length": np.searchsorted(known, lengths[of_text[bounds]]).astype(np.uint8),
        "bounds": np.append(bounds, len(keys)).astype(np.int64),
        "holders": holders,
        "offsets": offsets - offsets[0],
        "data": data[offsets[0] : offsets[-1]],
    }
    return _complete(head, arrays)


def gram_lengths(ends: NDArray[np.int64], owner: NDArray[np.int32], n: int, min_words: int) -> NDArray[np.int64]:
    """Words of the n-grams of each text, 0 where it has none: n, and the whole text in examples without n words.

    Args:
        ends: [texts + 1], of the texts' words.
        owner: [texts], the example of each.
        n: of the n-grams.
        min_words: of a text that counts as a whole.
    """
    counts = np.diff(ends)
    longest = np.zeros(int(owner[-1]) + 1 if len(owner) else 0, np.int64)
    np.maximum.at(longest, owner, counts)
    short = longest[owner] < n
    whole = np.where(counts >= min_words, counts, 0)
    return np.where(short, whole, np.where(counts >= n, n, 0)).astype(np.int64)


def grams_of(
    ends: NDArray[np.int64], hashes: NDArray[np.uint64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int64]]:
    """All n-grams of texts: their hashes, the text of each and the word with which it begins."""
    counts = np.where(lengths > 0, np.diff(ends) - lengths + 1, 0)
    owner = np.repeat(np.arange(len(lengths), dtype=np.int32), counts)
    out, first = np.empty(len(owner), np.uint64), np.empty(len(owner), np.int64)
    roll(ends, hashes, lengths, out, first)
    return out, owner, first


@njit("void(int64[::1], uint64[::1], int64[::1], uint64[::1], int64[::1])", cache=True, nogil=True)
def roll(
    ends: NDArray[np.int64],
    words: NDArray[np.uint64],
    lengths: NDArray[np.int64],
    out: NDArray[np.uint64],
    first: NDArray[np.int64],
) -> None:
    """Fill `out` and `first` with the hashes of the runs of `lengths[t]` words of each text t, and where they begin."""
    count = 0
    for t in range(len(lengths)):
        n = lengths[t]
        if n == 0:
            continue
        leading = uint64(1)
        for _ in range(n):
            leading *= POLYNOMIAL
        h = uint64(0)
        for i in range(ends[t], ends[t + 1]):
            h = h * POLYNOMIAL + words[i]
            if i - ends[t] >= n:
                h -= words[i - n] * leading
            if i - ends[t] >= n - 1:
                out[count] = h
                first[count] = i - n + 1
                count += 1


@njit("void(uint64[::1], uint8[::1], int64[::1], uint64[::1], int32[::1])", cache=True, nogil=True)
def prepare(
    hashes: NDArray[np.uint64],
    length: NDArray[np.uint8],
    starts: NDArray[np.int64],
    filters: NDArray[np.uint64],
    buckets: NDArray[np.int32],
) -> None:
    """Fill the filters and the table of prefixes."""
    shift = uint64(64)
    size = len(buckets) - 1
    while size > 1:
        size //= 2
        shift -= uint64(1)
    for i in range(len(hashes)):
        h, start = hashes[i], starts[length[i]]
        bit = h & uint64((starts[length[i] + 1] - start) * 64 - 1)
        filters[start + int64(bit >> uint64(6))] |= uint64(1) << (bit & uint64(63))
        buckets[int64(h >> shift) + 1] += 1
    for b in range(1, len(buckets)):
        buckets[b] += buckets[b - 1]


def _complete(head: dict[str, Any], arrays: dict[str, Any]) -> Index:
    hashes = arrays["hashes"]
    counts = np.bincount(arrays["length"], minlength=len(arrays["lengths"]))
    sizes = [1 << max(4, (FILTER_BITS * int(count) - 1).bit_length() - 6) for count in counts]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    filters = np.zeros(int(starts[-1]), np.uint64)
    buckets = np.zeros((1 << max(1, (max(1, len(hashes)) - 1).bit_length())) + 1, np.int32)
    prepare(hashes, arrays["length"], starts, filters, buckets)
    return Index(**head, **arrays, filters=filters, starts=starts, buckets=buckets)
