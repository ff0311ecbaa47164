"""How documents become windows of T tokens: concatenate, best_fit, one_document.

concatenate   all documents one after the other, cut every T tokens. No padding, no plan; documents are cut wherever
              a border falls.
best_fit      a document longer than T gives full windows and a remainder; documents and remainders are packed whole,
              longest first, each into the window with the least room that still holds it (best-fit decreasing; Ding
              et al. 2024, arXiv 2404.10830). Only documents longer than T are cut. What stays free is padding.
one_document  every document has windows of its own; the last is padded.

Every token is in exactly one window; only concatenate leaves out a group's first token and, below T, its last. The
other two need a plan, made from the documents' lengths alone: once a machine, kept with the store's other local
files, and read through memory maps. It costs 12 bytes a piece and 8 a window. Documents are packed in blocks of 2^20
neighbours in the store's shuffled order, which bounds the packer's memory to about 60 MB.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.kernels import njit
from pipelines.tokens.megatron import Index, Shard

PACKINGS = ("concatenate", "best_fit", "one_document")
Packing = Literal["concatenate", "best_fit", "one_document"]
VERSION = 1
BLOCK = 1 << 20
_PARTS = {"starts": "<i8", "sizes": "<i4", "first": "<i8"}

Integers = npt.NDArray[np.int64]
Sizes = npt.NDArray[np.int32]


class Stream(Protocol):
    """What is read of `store.Stream`: a group's shards."""

    shards: list[Shard]


class PackingPlan(NamedTuple):
    """Which pieces of documents stand in which window; read-only memory maps.

    Attributes:
        starts: int64[P] where a piece starts in the stream.
        sizes: int32[P] its tokens; negative for a piece that begins within its document.
        first: int64[W + 1] each window's first piece; the last is P.
        figures: `documents`, `tokens`, `pieces`, `windows`, `cut` (documents in more than one window).
    """

    starts: Integers
    sizes: Sizes
    first: Integers
    figures: dict[str, int]


def plan_of(directory: str, indexes: Sequence[Index], packing: Packing, sequence_length: int) -> PackingPlan:
    """The plan kept in a local directory; made there first where it is missing or not whole.

    Processes of one machine make it once: the others wait.

    Args:
        directory: where it is kept.
        indexes: of a group's shards, in order.
        packing: one that needs a plan.
        sequence_length: T.

    Raises:
        OSError: it cannot be written.
    """
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    with _locked(directory + ".lock"):
        if (plan := _opened(directory)) is not None:
            return plan
        shutil.rmtree(directory, ignore_errors=True)
        making = tempfile.mkdtemp(prefix=".tmp-", dir=os.path.dirname(directory))
        try:
            _make(making, indexes, packing, sequence_length)
            os.rename(making, directory)
        except BaseException:  # raised again; no half index stays
            shutil.rmtree(making, ignore_errors=True)
            raise
    made = _opened(directory)
    assert made is not None
    return made


def cut_by_concatenation(indexes: Sequence[Index], sequence_length: int) -> int:
    """Documents that concatenate-and-cut leaves in more than one window."""
    cut, at = 0, 0
    for lengths in blocks(indexes):
        cut += int(_count_cut(lengths, at, sequence_length))
        at += int(lengths.sum(dtype=np.int64))
    return cut


def blocks(indexes: Sequence[Index]) -> Iterator[Sizes]:
    """The lengths of all documents of a group, in order, 2^20 at a time."""
    waiting: list[Sizes] = []
    room = BLOCK
    for index in indexes:
        at = 0
        while at < len(index):
            waiting.append(np.asarray(index.lengths[at : at + room], dtype=np.int32))
            at += len(waiting[-1])
            room -= len(waiting[-1])
            if not room:
                yield np.concatenate(waiting)
                waiting, room = [], BLOCK
    if waiting:
        yield np.concatenate(waiting)


@contextmanager
def _locked(path: str) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _opened(directory: str) -> PackingPlan | None:
    try:
        with open(os.path.join(directory, "plan.json")) as file:
            figures: dict[str, int] = json.load(file)
        expected = {"starts": figures["pieces"], "sizes": figures["pieces"], "first": figures["windows"] + 1}
        parts = {
            name: np.asarray(np.memmap(os.path.join(directory, name), dtype=dtype, mode="r"))
            for name, dtype in _PARTS.items()
        }
    except (FileNotFoundError, ValueError):
        return None
    if any(len(parts[name]) != count for name, count in expected.items()):
        return None
    return PackingPlan(parts["starts"], parts["sizes"], parts["first"], figures)


def _make(directory: str, indexes: Sequence[Index], packing: Packing, sequence_length: int) -> None:
    kernel = {"best_fit": pack_best_fit, "one_document": pack_one_document}[packing]
    figures = dict.fromkeys(("documents", "tokens", "pieces", "windows", "cut"), 0)
    files: dict[str, Any] = {name: open(os.path.join(directory, name), "wb") for name in _PARTS}  # noqa: SIM115
    try:
        for lengths in blocks(indexes):
            starts, sizes, first, cut = kernel(lengths, figures["tokens"], sequence_length)
            files["starts"].write(starts)
            files["sizes"].write(sizes)
            files["first"].write(first + figures["pieces"])
            figures["documents"] += len(lengths)
            figures["tokens"] += int(lengths.sum(dtype=np.int64))
            figures["pieces"] += len(starts)
            figures["windows"] += len(first)
            figures["cut"] += cut
        files["first"].write(np.array([figures["pieces"]], dtype="<i8"))
    finally:
        for file in files.values():
            file.close()
    with open(os.path.join(directory, "plan.json"), "w") as file:
        json.dump(figures, file)


@njit("void(int32[::1], int64, int32)", cache=True, nogil=True)
def _mark(tree: Sizes, node: int, by: int) -> None:
    """Add to a leaf and all above it."""
    while node > 0:
        tree[node] += by
        node //= 2


_PLAN = "Tuple((int64[::1], int32[::1], int64[::1], int64))(int32[::1], int64, int64)"


@njit(_PLAN, cache=True, nogil=True)
def pack_one_document(lengths: Sizes, start: int, room: int) -> tuple[Integers, Sizes, Integers, int]:
    """Windows of one piece each; see `pack_best_fit`."""
    pieces = cut = 0
    for length in lengths:
        pieces += (length + room - 1) // room
        cut += length > room
    starts, sizes = np.empty(pieces, np.int64), np.empty(pieces, np.int32)
    piece = 0
    for length in lengths:
        for at in range(0, length, room):
            size = min(room, length - at)
            starts[piece], sizes[piece] = start + at, size if at == 0 else -size
            piece += 1
        start += length
    return starts, sizes, np.arange(pieces), cut


@njit(_PLAN, cache=True, nogil=True)
def pack_best_fit(lengths: Sizes, start: int, room: int) -> tuple[Integers, Sizes, Integers, int]:
    """Best-fit decreasing.

    Args:
        lengths: int32[D] tokens of documents that stand one after the other.
        start: where the first stands in the stream.
        room: T, tokens a window holds.

    Returns:
        starts, sizes and first (one a window, from 0) as in `PackingPlan`, and how many documents were cut.
    """
    full = small = cut = 0
    for length in lengths:
        whole = length // room if length > room else 0
        full += whole
        small += length > whole * room
        cut += length > room
    pieces = full + small
    starts, sizes = np.empty(pieces, np.int64), np.empty(pieces, np.int32)
    small_starts, small_sizes = np.empty(small, np.int64), np.empty(small, np.int32)
    # A remainder takes one more: the token before it, unless it comes first in its window.
    taken = np.empty(small, np.int32)
    f = s = 0
    for length in lengths:
        at = 0
        if length > room:
            while length - at >= room:
                starts[f], sizes[f] = start + at, room if at == 0 else -room
                f, at = f + 1, at + room
        if length > at:
            small_starts[s], small_sizes[s] = start + at, length if at == 0 else at - length
            taken[s] = length if at == 0 else length - at + 1
            s += 1
        start += length

    place = np.zeros(room + 2, np.int64)
    for i in range(small):
        place[room - taken[i] + 1] += 1
    place = np.cumsum(place)
    order = np.empty(small, np.int64)
    for i in range(small):
        order[place[room - taken[i]]] = i
        place[room - taken[i]] += 1

    # Windows with the same room left are a chain; a binary tree over rooms finds the least that is enough.
    leaves = 1
    while leaves < room + 1:
        leaves *= 2
    tree = np.zeros(2 * leaves, np.int32)
    chain, behind = np.full(room + 1, -1, np.int64), np.empty(small, np.int64)
    window_of, windows = np.empty(small, np.int64), 0
    for item in order:
        node = leaves + taken[item]
        if tree[node] == 0:
            while node > 1 and (node % 2 == 1 or tree[node + 1] == 0):
                node //= 2
            if node > 1:
                node += 1
                while node < leaves:
                    node = 2 * node if tree[2 * node] > 0 else 2 * node + 1
        if node > 1:
            left = node - leaves
            window = int(chain[left])
            chain[left] = behind[window]
            if chain[left] < 0:
                _mark(tree, node, -1)
        else:
            left, window = room, windows
            windows += 1
        window_of[item] = window
        left -= taken[item]
        if left > 0:
            if chain[left] < 0:
                _mark(tree, leaves + left, 1)
            behind[window], chain[left] = chain[left], window

    first = np.empty(full + windows, np.int64)
    for w in range(full):
        first[w] = w
    filled = np.zeros(windows + 1, np.int64)
    for i in range(small):
        filled[window_of[i] + 1] += 1
    filled = np.cumsum(filled)
    for w in range(windows):
        first[full + w] = full + filled[w]
    for item in order:
        piece = full + filled[window_of[item]]
        filled[window_of[item]] += 1
        starts[piece], sizes[piece] = small_starts[item], small_sizes[item]
    return starts, sizes, first, cut


@njit("int64(int32[::1], int64, int64)", cache=True, nogil=True)
def _count_cut(lengths: Sizes, start: int, room: int) -> int:
    # Window w holds the tokens w·T + 1 … w·T + T of the stream.
    cut = 0
    for length in lengths:
        first, last = max(start, 1), start + length - 1
        cut += last >= first and (first - 1) // room != (last - 1) // room
        start += length
    return cut
