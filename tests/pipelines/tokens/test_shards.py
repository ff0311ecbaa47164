"""Runs and shards: every document in exactly one range, blocks read back, one order whatever comes first."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines import storage
from pipelines.tokens import encode, runs, shards
from pipelines.tokens.runs import Documents
from pipelines.tokens.shards import ShardPlan
from pipelines.tokens.store import files_in

UINT16 = np.dtype("<u2")
hashes = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])


def documents(rows: list[tuple[int, str, int]]) -> Documents:
    """Documents of (hash, id, tokens)."""
    lengths = [length for _, _, length in rows]
    return Documents(
        np.array([h for h, _, _ in rows], np.uint64),
        pa.array([name for _, name, _ in rows], pa.large_string()),
        np.array([3 * length for length in lengths], np.int64),
        np.array(lengths, np.int64),
        np.array([(place * 7 + i) % 65536 for place, n in enumerate(lengths) for i in range(n)], UINT16),
    )


def listed(of: Documents) -> list[tuple[int, str, int, list[int]]]:
    ends = np.cumsum(of.lengths)
    tokens = [of.tokens[end - length : end].tolist() for end, length in zip(ends, of.lengths, strict=True)]
    return list(zip(of.hashes.tolist(), of.ids.to_pylist(), of.bytes.tolist(), tokens, strict=True))


rows = st.lists(st.tuples(hashes, st.text(max_size=5), st.integers(1, 9)), max_size=30)


@given(rows=rows, block=st.sampled_from([1, 100, 1 << 16]), of=st.integers(1, 40))
def test_ranges_of_a_run_hold_every_document_once(rows: list[tuple[int, str, int]], block: int, of: int) -> None:
    before, runs.BLOCK_BYTES = runs.BLOCK_BYTES, block
    try:
        found = runs.blocks(documents(sorted(rows)))
    finally:
        runs.BLOCK_BYTES = before
    data = b"head" + b"".join(found)
    bounds = np.cumsum([4, *map(len, found)]).tolist()
    collected = []
    for number in range(of):
        low, high = ShardPlan("train", "a", "en", number, of, "", 0, ()).hashes
        offset, length = runs.covering(bounds, low, high)
        parts = [one for part in runs.parse(data[offset : offset + length], UINT16) for one in listed(part)]
        assert [one[0] for one in parts] == sorted(one[0] for one in parts)
        collected += [one for one in parts if low <= one[0] < high]
    assert collected == listed(documents(sorted(rows)))


@given(of=st.integers(1, 10_000))
def test_the_ranges_of_hashes_are_a_partition(of: int) -> None:
    ranges = [ShardPlan("train", "a", "en", number, of, "", 0, ()).hashes for number in range(of)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 2**64
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
    sizes = [high - low for low, high in ranges]
    assert max(sizes) - min(sizes) <= 1


@given(data=st.data())
def test_documents_that_share_a_hash_have_one_order(data: st.DataObject) -> None:
    chosen = st.lists(st.tuples(st.sampled_from([5, 6]), st.sampled_from("ab"), st.integers(1, 3)), max_size=8)
    of = documents(data.draw(chosen))
    shuffled = of.take(np.array(data.draw(st.permutations(range(len(of.lengths)))), np.int64))
    one, other = (listed(each.take(shards._order(each))) for each in (of, shuffled))
    assert one == other
    assert [row[:2] for row in one] == sorted(row[:2] for row in one)


@given(sizes=st.lists(st.integers(0, 30), max_size=20))
def test_bundles_keep_the_order_and_hold_no_more_than_asked_unless_alone(sizes: list[int]) -> None:
    planned = [ShardPlan("train", "a", "en", n, 1, "", size, ()) for n, size in enumerate(sizes)]
    found = shards.bundles(planned, 20)
    assert [shard for bundle in found for shard in bundle] == planned
    assert all(len(bundle) == 1 or sum(shard.bytes for shard in bundle) <= 20 for bundle in found)
    assert all(sum(shard.bytes for shard in a + b) > 20 for a, b in itertools.pairwise(found))


def test_shards_come_of_several_runs_and_equal_ones_of_any_cut(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [(int(h), f"d/{i}", int(n)) for i, (h, n) in enumerate(zip(*_random(rng, 500), strict=True))]
    every = documents(rows)
    digests = []
    for units in (1, 3, 7):
        location = str(tmp_path / str(units))
        manifests = []
        for number in range(units):
            part = every.take(np.arange(number, len(rows), units))
            found = runs.blocks(part.take(np.argsort(part.hashes)))
            storage.write_parts(storage.join(location, encode.run_name(number)), found)
            group = {"split": "train", "source": "a", "language": "en", **encode.totals(part)}
            group["bounds"] = np.cumsum([0, *map(len, found)]).tolist()
            manifests.append({"unit": number, "key": str(number), "groups": [group]})
        planned = shards.plan(manifests, "uint16", 1000)
        written = [shards.write_shard(shard, location, "uint16") for shard in planned]
        assert sum(values["file"]["documents"] for values in written) == 500
        assert max(values["file"]["tokens"] for values in written) * 2 < 1500
        digests.append([values["file"] for values in written])
        there = files_in(location, "train", "units/shards/train")
        assert [shards.finished(location, shard, there) for shard in planned] == written
    assert digests[0] == digests[1] == digests[2]


def _random(rng: np.random.Generator, count: int) -> tuple[list[int], list[int]]:
    return rng.integers(0, 2**64, count, np.uint64).tolist(), rng.integers(1, 12, count).tolist()
