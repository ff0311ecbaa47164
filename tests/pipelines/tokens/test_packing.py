"""Packing: every token in one window, none too long, whole documents stay whole, plans made once and read back."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.tokens import packing
from pipelines.tokens.packing import blocks, cut_by_concatenation, pack_best_fit, pack_one_document, plan_of
from tests.pipelines.tokens.handmade import HandmadeStore

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)
ROOM = st.integers(1, 25)
Kernel = Callable[[np.ndarray, int, int], tuple[np.ndarray, np.ndarray, np.ndarray, int]]
KERNELS = [pack_best_fit, pack_one_document]


def windows(kernel: Kernel, lengths: list[int], room: int, start: int = 0) -> list[list[tuple[int, int]]]:
    """The windows as lists of (start, signed size)."""
    starts, sizes, first, _ = kernel(np.array(lengths, np.int32), start, room)
    pieces = list(zip(starts.tolist(), sizes.tolist(), strict=True))
    bounds = [*first.tolist(), len(pieces)]
    return [pieces[low:high] for low, high in pairwise(bounds)]


def room_taken(window: list[tuple[int, int]]) -> int:
    """Tokens, and one more before each remainder that does not come first."""
    return sum(abs(size) + (size < 0 and at > 0) for at, (_, size) in enumerate(window))


@pytest.mark.parametrize("kernel", KERNELS)
@given(lengths=LENGTHS, room=ROOM, start=st.integers(0, 10**12))
@example(lengths=[1], room=1, start=0)
@example(lengths=[25, 50, 75], room=25, start=0)
def test_every_token_is_in_exactly_one_window(kernel: Kernel, lengths: list[int], room: int, start: int) -> None:
    found = windows(kernel, lengths, room, start)
    tokens = sorted(token for window in found for at, size in window for token in range(at, at + abs(size)))
    assert tokens == list(range(start, start + sum(lengths)))
    assert all(window and room_taken(window) <= room for window in found)


@pytest.mark.parametrize("kernel", KERNELS)
@given(lengths=LENGTHS, room=ROOM)
def test_a_document_that_fits_is_never_cut(kernel: Kernel, lengths: list[int], room: int) -> None:
    begins = np.cumsum([0, *lengths])
    pieces = {at: size for window in windows(kernel, lengths, room) for at, size in window}
    for begin, length in zip(begins.tolist(), lengths, strict=False):
        if length <= room:
            assert pieces[begin] == length
        else:
            cuts = [at for at in pieces if begin <= at < begin + length]
            assert sorted(cuts) == list(range(begin, begin + length, room))
            assert all((pieces[at] < 0) == (at > begin) for at in cuts)
    assert kernel(np.array(lengths, np.int32), 0, room)[3] == sum(length > room for length in lengths)


@given(lengths=LENGTHS, room=ROOM)
def test_one_document_a_window(lengths: list[int], room: int) -> None:
    assert all(len(window) == 1 for window in windows(pack_one_document, lengths, room))


@given(lengths=LENGTHS, room=ROOM)
def test_best_fit_is_the_plain_algorithm(lengths: list[int], room: int) -> None:
    small: list[tuple[int, int]] = []
    expected: list[list[tuple[int, int]]] = []
    begin = 0
    for length in lengths:
        at = 0
        while length > room and length - at >= room:
            expected.append([(begin + at, room if at == 0 else -room)])
            at += room
        if length > at:
            small.append((begin + at, length if at == 0 else at - length))
        begin += length
    need = {piece: abs(piece[1]) + (piece[1] < 0) for piece in small}
    bins: list[list[tuple[int, int]]] = []
    touched: list[int] = []
    for piece in sorted(small, key=lambda piece: (-need[piece], piece[0])):
        left = [room - sum(need[other] for other in window) for window in bins]
        fitting = [space for space in left if space >= need[piece]]
        if fitting:
            # Of windows with the same room left, the one that came to it last.
            at = max((i for i in range(len(bins)) if left[i] == min(fitting)), key=lambda i: touched[i])
            bins[at].append(piece)
        else:
            at = len(bins)
            bins.append([piece])
            touched.append(0)
        touched[at] = max(touched) + 1
    assert windows(pack_best_fit, lengths, room) == expected + bins


@given(seed=st.integers(0, 2**32))
def test_best_fit_wastes_little_and_less_than_one_document(seed: int) -> None:
    lengths = np.minimum(np.random.default_rng(seed).lognormal(5, 1.2, 3000).astype(np.int32) + 1, 20_000)
    best, alone = (len(kernel(lengths, 0, 1024)[2]) * 1024 / lengths.sum() - 1 for kernel in KERNELS)
    assert best < 0.02
    assert alone > 10 * best


@given(lengths=LENGTHS, room=ROOM)
def test_documents_that_concatenation_cuts_are_counted(lengths: list[int], room: int) -> None:
    begins = np.cumsum([0, *lengths])
    window_of = [None, *((token - 1) // room for token in range(1, begins[-1]))]
    cut = sum(
        len(set(window_of[max(1, begin) : begin + length])) > 1
        for begin, length in zip(begins.tolist(), lengths, strict=False)
    )
    assert int(packing._count_cut(np.array(lengths, np.int32), 0, room)) == cut


def store(directory: Path) -> HandmadeStore:
    draw = np.random.default_rng(1)
    directory.mkdir(parents=True, exist_ok=True)
    return HandmadeStore(str(directory), {"a/en": [draw.integers(1, 90, size).tolist() for size in (40, 1, 70, 30)]})


def test_a_plan_is_made_once_and_is_what_blocks_of_documents_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "BLOCK", 50)
    indexes = store(tmp_path).indexes("train", "a", "en")
    whole = [length for index in indexes for length in index.lengths.tolist()]
    assert [len(block) for block in blocks(indexes)] == [50, 50, 41]
    plan = plan_of(str(tmp_path / "plans" / "one"), indexes, "best_fit", 32)
    expected, at = [], 0
    for low in range(0, 141, 50):
        expected += windows(pack_best_fit, whole[low : low + 50], 32, at)
        at += sum(whole[low : low + 50])
    bounds = plan.first.tolist()
    pieces = list(zip(plan.starts.tolist(), plan.sizes.tolist(), strict=True))
    assert [pieces[low:high] for low, high in pairwise(bounds)] == expected
    assert plan.figures == {
        "documents": 141,
        "tokens": sum(whole),
        "pieces": len(pieces),
        "windows": len(expected),
        "cut": sum(length > 32 for length in whole),
    }
    assert not plan.starts.flags.writeable
    monkeypatch.setattr(packing, "_make", None)
    assert plan_of(str(tmp_path / "plans" / "one"), indexes, "best_fit", 32).starts.tolist() == plan.starts.tolist()


@pytest.mark.parametrize("damage", ["starts", "first", "plan.json"])
def test_a_plan_that_is_not_whole_is_made_anew(tmp_path: Path, damage: str) -> None:
    indexes = store(tmp_path).indexes("train", "a", "en")
    directory = tmp_path / "plans" / "one"
    first = plan_of(str(directory), indexes, "one_document", 32).sizes.tolist()
    os.truncate(directory / damage, 16)
    assert plan_of(str(directory), indexes, "one_document", 32).sizes.tolist() == first
    (directory / damage).unlink()
    assert plan_of(str(directory), indexes, "one_document", 32).sizes.tolist() == first


def _plan(location: str) -> list[int]:
    return plan_of(
        location + "/plans/one", store(Path(location)).indexes("train", "a", "en"), "best_fit", 32
    ).sizes.tolist()


def test_processes_that_start_together_make_one_plan(tmp_path: Path) -> None:
    store(tmp_path)
    with ProcessPoolExecutor(4, multiprocessing.get_context("fork")) as pool:
        found = list(pool.map(_plan, [str(tmp_path)] * 8))
    assert all(sizes == found[0] for sizes in found)
    assert sorted(os.listdir(tmp_path / "plans")) == ["one", "one.lock"]


def test_cut_documents_of_a_stream_go_on_over_shards(tmp_path: Path) -> None:
    indexes = store(tmp_path).indexes("train", "a", "en")
    whole = np.concatenate([index.lengths for index in indexes]).astype(np.int32)
    assert cut_by_concatenation(indexes, 32) == packing._count_cut(whole, 0, 32)
