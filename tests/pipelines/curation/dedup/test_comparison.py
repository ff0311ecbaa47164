"""What goes is what plain Python says, however the work is cut; doing it twice does nothing more."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.buffers import strings
from pipelines.curation.dedup.exchange import Scale
from pipelines.curation.dedup.minhash import MinHash, similarity
from pipelines.curation.dedup.settings import DuplicateSettings, NearDuplicates
from pipelines.curation.dedup.stage import earlier_corpora
from pipelines.curation.keys import text_keys
from tests.pipelines.curation.dedup.bench import Bench, Row

NEAR = {"preset": "custom", "bands": 6, "rows": 2, "shingle_words": 2}
BASES = [
    "the cat sat on the mat and looked at the bird in the tree",
    "a dog ran over the road and barked at every car that came by",
    "rain fell on the roof of the old house by the sea all night",
]


def edited(base: int, edits: list[int]) -> str:
    words = BASES[base].split()
    for edit in edits:
        words[edit % len(words)] = f"w{edit}"
    return " ".join(words)


TEXTS = st.lists(
    st.one_of(
        st.builds(edited, st.integers(0, 2), st.lists(st.integers(0, 40), max_size=5)),
        st.sampled_from(["", "...", "One word", "one  WORD", BASES[0].upper()]),
    ),
    max_size=14,
)


def plain(rows: list[Row], near: dict | None, alike=None) -> dict[str, str]:
    """Id of what goes -> id of what stays, the smallest id of its component."""
    texts = strings(row.text for row in rows)
    keys = text_keys(texts)
    bands = MinHash(NearDuplicates(**near)).band_keys(texts) if near else np.zeros((len(rows), 0), np.uint64)
    group = list(range(len(rows)))
    for one in range(len(rows)):
        for two in range(one):
            shared = ((bands[one] == bands[two]) & (bands[one] != 0)).any()
            if keys[one] == keys[two] or (shared and (alike is None or alike(one, two))):
                old, new = group[one], group[two]
                group = [new if number == old else number for number in group]
    best = {number: min(rows[i].id for i in range(len(rows)) if group[i] == number) for number in set(group)}
    return {row.id: best[group[i]] for i, row in enumerate(rows) if row.id != best[group[i]]}


def kept_ids(gone: dict) -> dict[str, str]:
    return {name: kept for name, (_, _, kept) in gone.items()}


def cut(rows: list[Row], units: int) -> list[list[Row]]:
    return [rows[number::units] for number in range(units)]


@settings(max_examples=40)
@given(TEXTS, st.integers(1, 3), st.sampled_from([None, Scale(2, 4), Scale(1, 7)]), st.integers(0, 3), st.randoms())
def test_components_of_exact_and_near_duplicates(new_bench, texts, units, scale, edges_a_task, shuffler: random.Random):
    rows = [Row(f"s/{number:03d}", text) for number, text in enumerate(texts)]
    expected = plain(rows, NEAR)
    shuffler.shuffle(rows)
    bench: Bench = new_bench()
    gone = bench.compare(cut(rows, units), scale, edges_a_task=max(1, edges_a_task), near=NEAR)
    assert kept_ids(gone) == expected
    left = [row for row in rows if row.id not in gone]
    assert bench.compare(cut(left, units), scale, near=NEAR) == {}


@settings(max_examples=20)
@given(TEXTS, st.integers(1, 3), st.sampled_from([0.3, 0.6, 1.0]))
def test_verification_asks_each_pair_of_a_bucket(new_bench, texts: list[str], units: int, verify: float):
    rows = [Row(f"s/{number:03d}", text) for number, text in enumerate(texts)]
    hasher = MinHash(NearDuplicates(**NEAR))
    sketches = hasher.sketches(hasher.signatures(strings(texts)))

    def alike(one: int, two: int) -> bool:
        found = similarity(sketches[one : one + 1], sketches[two : two + 1], hasher.sketched)
        return float(found[0]) >= verify - 1e-9

    bench: Bench = new_bench()
    gone = bench.compare(cut(rows, units), near={**NEAR, "verify": verify})
    assert kept_ids(gone) == plain(rows, NEAR, alike)
    left = [row for row in rows if row.id not in gone]
    assert bench.compare(cut(left, units), near={**NEAR, "verify": verify}) == {}


@settings(max_examples=20)
@given(TEXTS, TEXTS, st.sampled_from([Scale(2, 3), Scale(9, 40)]), st.sampled_from([Scale(1, 2), Scale(9, 50)]))
def test_a_new_corpus_against_an_old_one_is_as_both_together(new_bench, old, new, scale, other):
    rows = [Row(f"old/{number:03d}", text) for number, text in enumerate(old)]
    more = [Row(f"new/{number:03d}", text) for number, text in enumerate(new)]
    bench: Bench = new_bench()
    output = bench.folder / "old"
    bench.compare(cut(rows, 2), scale, near=NEAR, output=output)
    gone = bench.compare(cut(more, 2), other, near=NEAR, against=[str(output)])
    # "old/..." sorts after "new/...": what stays of both together is renamed so that the old ones win.
    together = plain([Row(f"0{row.id}", row.text) for row in rows] + more, NEAR)
    assert set(gone) == {name for name in together if name.startswith("new/")}
    for name, (_, reason, kept) in gone.items():
        assert (reason == "in_earlier_corpus") == together[name].startswith("0old")
        assert reason != "in_earlier_corpus" or kept.startswith("old/")


def test_an_index_with_other_hashes_is_refused(bench: Bench, tmp_path: Path):
    rows = [[Row("s/1", BASES[0])]]
    bench.compare(rows, near=NEAR, output=tmp_path / "old")
    with pytest.raises(ValueError, match=r"index.json: its near is .* curate that corpus again"):
        bench.compare(rows, near={**NEAR, "seed": 2}, against=[str(tmp_path / "old")])
    with pytest.raises(FileNotFoundError, match="keep_index"):
        bench.compare(rows, near=NEAR, against=[str(tmp_path / "nowhere")])
    own = DuplicateSettings(near=NEAR, against=[str(tmp_path / "old") + "/"])
    with pytest.raises(ValueError, match="own output"):
        earlier_corpora(own, str(tmp_path / "old"))


def test_the_copy_that_stays_is_the_first_by_the_recipe(bench: Bench):
    texts = [edited(0, []), edited(0, []) + " there", edited(0, [3])]
    rows = [
        Row("s/1", texts[0], "2020-05-01", 0.1),
        Row("s/2", texts[1], "2019-01-01", None),
        Row("s/3", texts[2], None, 0.9),
        Row("s/4", texts[0].upper(), "2019-01-01", 0.9),
    ]

    def stays(*prefer: tuple[str, str]) -> str:
        gone = bench.compare([rows], near=NEAR, prefer=[{"by": by, "first": first} for by, first in prefer])
        (left,) = {row.id for row in rows} - set(gone)
        assert set(kept_ids(gone).values()) == {left}
        return left

    assert stays() == "s/1"
    assert stays(("length", "high")) == "s/2"
    assert stays(("date", "low")) == "s/2"
    assert stays(("date", "high")) == "s/1"
    assert stays(("quality", "high")) == "s/3"
    assert stays(("quality", "high"), ("date", "low")) == "s/4"
    assert stays(("quality", "low")) == "s/1"


def test_exact_and_near_copies_are_told_apart(bench: Bench):
    rows = [Row("s/1", BASES[0]), Row("s/2", BASES[0].upper()), Row("s/3", edited(0, [5])), Row("s/4", BASES[1])]
    gone = bench.compare([rows], near=NEAR)
    assert gone == {
        "s/2": ("exact_dedup", "duplicate_of", "s/1"),
        "s/3": ("near_dedup", "near_duplicate_of", "s/1"),
    }
    assert bench.figures["clusters"] == 1
    assert bench.figures["largest"] == [{"documents": 3, "kept": "s/1"}]
    assert [pair["removed"] for pair in bench.figures["pairs"]] == ["s/2", "s/3"]
    assert bench.compare([rows], exact=False, near={**NEAR, "verify": 1.0}).keys() == {"s/2"}


def test_a_hundred_thousand_copies_cost_a_hundred_thousand_edges(bench: Bench):
    rows = [Row(f"s/{number:06d}", BASES[0]) for number in range(100_000)]
    gone = bench.compare(cut(rows, 3), edges_a_task=10**6, near={"verify": 0.7})
    assert len(gone) == 99_999
    assert set(kept_ids(gone).values()) == {"s/000000"}
    assert bench.figures["edges"] <= 15 * 99_999
    assert bench.figures["buckets"]["near"]["largest"] == 100_000
