"""Decontamination against sets of word tuples, on small random corpora in which everything repeats."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.buffers import strings
from pipelines.curation.decontamination import (
    DecontaminationSettings,
    build_index,
    reduce,
    removals_of,
    scan,
    scan_unit,
    verdict,
)

TEXT = st.lists(st.sampled_from("abc"), max_size=12).map(" ".join)
ROWS = st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=4)
TASKS = st.dictionaries(st.sampled_from(["one", "two", "three"]), ROWS, min_size=1)
Gram = tuple[str, ...]


def grams(words: list[str], n: int) -> set[Gram]:
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def of_example(texts: list[str], n: int, least: int) -> set[Gram]:
    words = [text.split() for text in texts]
    if max(map(len, words)) >= n:
        return set().union(*(grams(each, n) for each in words))
    return {tuple(each) for each in words if len(each) >= least}


class Oracle:
    """The definitions, over tasks {name: rows of texts} and documents."""

    def __init__(self, tasks: dict[str, list[list[str]]], documents: list[str], rule: dict[str, Any]) -> None:
        n, least = rule["n"], rule["min_words"]
        self.examples = [(task, of_example(texts, n, least)) for task, rows in tasks.items() for texts in rows]
        known = set().union(*(held for _, held in self.examples))
        words = [document.split() for document in documents]
        self.held = [known & set().union(*(grams(each, k) for k in range(least, n + 1))) for each in words]
        count = Counter(gram for held in self.held for gram in held)
        most = rule["max_documents"]
        self.ignored = {gram for gram, times in count.items() if most is not None and times > most}
        self.gone: list[set[str]] = [
            {task for task, of in self.examples if self._enough(of - self.ignored, held, rule)} for held in self.held
        ]
        stays = [held for held, gone in zip(self.held, self.gone, strict=True) if not gone]
        self.before = [self._share(of, self.held) for _, of in self.examples]
        self.after = [self._share(of, stays) for _, of in self.examples]
        self.dropped_by = {task: sum(task in gone for gone in self.gone) for task in tasks}

    @staticmethod
    def _enough(of: set[Gram], held: set[Gram], rule: dict[str, Any]) -> bool:
        both = len(of & held)
        if not both:
            return False
        if rule["rule"] == "coverage":
            return both / len(of) >= rule["min_coverage"]
        return both >= (min(rule["min_count"], len(of)) if rule["rule"] == "count" else 1)

    @staticmethod
    def _share(of: set[Gram], documents: list[set[Gram]]) -> float | None:
        return len(of & set().union(*documents)) / len(of) if of else None


@settings(max_examples=100, deadline=None)
@given(
    TASKS,
    st.lists(TEXT, max_size=8),
    st.fixed_dictionaries(
        {
            "n": st.integers(2, 5),
            "min_words": st.integers(1, 2),
            "rule": st.sampled_from(["any", "count", "coverage"]),
            "min_count": st.integers(1, 4),
            "min_coverage": st.sampled_from([0.1, 0.5, 1.0]),
            "max_documents": st.sampled_from([None, 1, 3]),
        }
    ),
    st.sampled_from([1, 4_000_000]),
)
def test_removals_and_coverage_are_those_of_sets(
    tasks: dict[str, list[list[str]]], documents: list[str], rule: dict[str, Any], pairs: int
) -> None:
    expected = Oracle(tasks, documents, rule)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdict, "MOST_PAIRS", pairs)
        folder = Path(name)
        files = {}
        for task, rows in tasks.items():
            (folder / f"{task}.jsonl").write_text("".join(json.dumps({"texts": row}) + "\n" for row in rows))
            files[task] = {"paths": [str(folder / f"{task}.jsonl")]}
        chosen = DecontaminationSettings.model_validate({"tasks": files, **rule})
        index = build_index(chosen)
        hits = str(folder / "hits.parquet")
        ids = pa.array([str(i) for i in range(len(documents))], pa.string())
        scan_unit([(np.arange(len(documents)), ids, strings(documents))], index, hits)
        summary = reduce([hits], index, chosen)
        removed = removals_of(hits, index, summary.ignored, chosen).to_pylist()
    assert [row["position"] for row in removed] == [i for i, gone in enumerate(expected.gone) if gone]
    for row in removed:
        assert row["reason"].removeprefix("contaminated_by_") in expected.gone[row["position"]]
        also = row["detail"].partition("; also ")[2]
        named = {row["reason"].removeprefix("contaminated_by_"), *(also.split(", ") if also else [])}
        assert named == expected.gone[row["position"]]
        assert row["score"] >= row["threshold"] > 0
    table = summary.examples().to_pydict()
    assert table["coverage_before"] == pytest.approx(expected.before)
    assert table["coverage_after"] == pytest.approx(expected.after)
    assert dict(zip(index.tasks, summary.dropped_by.tolist(), strict=True)) == expected.dropped_by
    assert len(summary.ignored) == len(expected.ignored)
    assert (summary.hit, summary.dropped) == (sum(map(bool, expected.held)), sum(map(bool, expected.gone)))


@settings(max_examples=100, deadline=None)
@given(ROWS, st.lists(TEXT, max_size=5), st.integers(1, 4))
def test_the_longest_match_is_the_longest_run(rows: list[list[str]], documents: list[str], n: int) -> None:
    n = max(2, n)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "task.jsonl"
        path.write_text("".join(json.dumps({"texts": row}) + "\n" for row in rows))
        chosen = DecontaminationSettings.model_validate(
            {"tasks": {"t": {"paths": [str(path)]}}, "n": n, "min_words": n}
        )
        hits = scan(build_index(chosen), strings(documents))
    known = set().union(*(of_example(texts, n, n) for texts in rows))
    for i, document in enumerate(documents):
        words = document.split()
        found = [tuple(words[at : at + n]) in known for at in range(len(words) - n + 1)]
        longest = max((len(run) for run in "".join("x" if f else " " for f in found).split()), default=0)
        assert hits.words[i] == (longest + n - 1 if longest else 0)
        assert hits.bounds[i + 1] - hits.bounds[i] == len(grams(words, n) & known)
        piece = document.encode()[hits.begin[i] : hits.end[i]].decode().split()
        assert len(piece) == hits.words[i]
        assert (hits.anchor[i] >= 0) == bool(longest)
