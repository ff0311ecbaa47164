"""Of equal texts the smallest id stays, however the keys are cut and ordered."""

import random

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.buffers import strings
from pipelines.curation.dedup import KEYS_SCHEMA, empty, keys_table, losers_of
from pipelines.curation.keys import text_keys

TEXTS = st.lists(st.sampled_from("abcdefgh"), max_size=40)


def decisions(names: list[str], texts: list[str]) -> pa.RecordBatch:
    keys = pa.array(text_keys(strings(texts)), pa.binary(16))
    positions = pa.array(range(len(texts)), pa.int64())
    return pa.record_batch({"position": positions, "id": pa.array(names, pa.string()), "key": keys})


def lost(table: pa.Table, buckets: int) -> set[tuple[str, int, str]]:
    found = set()
    for bucket in range(buckets):
        part = table.filter(pa.compute.equal(table["bucket"], bucket))
        found |= {tuple(row.values()) for row in losers_of(part).to_pylist()}
    return found


@given(TEXTS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_losers_are_all_but_the_smallest_id_of_each_text(texts: list[str], buckets: int, shuffler: random.Random):
    names = [f"s/{n:03d}" for n in range(len(texts))]
    shuffler.shuffle(names)
    table = keys_table(decisions(names, texts), "u", buckets)
    best = {text: min(name for name, other in zip(names, texts, strict=True) if other == text) for text in texts}
    expected = {
        ("u", position, best[text])
        for position, (name, text) in enumerate(zip(names, texts, strict=True))
        if name != best[text]
    }
    assert lost(table, buckets) == expected
    losers = {position for _, position, _ in expected}
    survivors = table.filter(pa.array([position not in losers for position in range(table.num_rows)], pa.bool_()))
    assert lost(survivors, buckets) == set()
    order = list(range(table.num_rows))
    shuffler.shuffle(order)
    assert lost(table.take(pa.array(order, pa.int64())), buckets) == expected


def test_a_hundred_thousand_copies_are_one_document():
    count = 100_000
    columns = {
        "bucket": pa.array([0] * count, pa.int32()),
        "key": pa.array(text_keys(strings(["boilerplate"])) * count, pa.binary(16)),
        "id": pa.array([f"s/{count - n:07d}" for n in range(count)]),
        "unit": pa.array(["u"] * count),
        "position": pa.array(range(count), pa.int64()),
    }
    losers = losers_of(pa.table(columns, schema=KEYS_SCHEMA))
    assert losers.num_rows == count - 1
    assert losers["kept"].unique().to_pylist() == ["s/0000001"]


def test_a_bucket_without_documents_has_no_losers():
    assert losers_of(empty(KEYS_SCHEMA)).num_rows == 0
