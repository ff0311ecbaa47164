"""What all units hold of all examples: common phrases, and how much of each example the corpus has seen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines import storage
from pipelines.curation.decontamination.index import Index
from pipelines.curation.decontamination.scan import excerpt
from pipelines.curation.decontamination.settings import DecontaminationSettings
from pipelines.curation.decontamination.verdict import Judge, Pairs, hits_in

REPORT_FILE, EXAMPLES_FILE = "contamination.json", "contamination.parquet"
"""Below a curation's output: figures for people, and a row for each example."""

EXAMPLES_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("words", pa.int64()),
        ("grams", pa.int64()),
        ("coverage_before", pa.float64()),
        ("coverage_after", pa.float64()),
        ("key", pa.string()),
    ]
)
"""Every example: the file's base name and the line from 1, its different n-grams, the share of them that the corpus
holds before and after documents went (null for one that cannot be checked), and its row's `examples.row_key`."""

SHOWN_EXAMPLES, SHOWN_PHRASES = 5, 20


@dataclass
class _Best:
    """Of the documents whose longest match lies in an example, the one that holds most of it; ties by the id."""

    held: int
    words: int
    id: str
    excerpt: str
    anchor: int

    def before(self, other: _Best) -> bool:
        return (-self.held, -self.words, self.id) < (-other.held, -other.words, other.id)


@dataclass
class Summary:
    """Both directions: documents that go, and what was seen of each example."""

    index: Index
    settings: DecontaminationSettings
    ignored: NDArray[np.int32]
    """Numbers of the n-grams that do not count, ascending."""
    documents: NDArray[np.int64]
    """[n-grams]: documents that hold each."""
    after: NDArray[np.bool_]
    """[n-grams]: whether a document that stays holds it."""
    hit: int = 0
    """Documents that hold an n-gram."""
    dropped: int = 0
    """Documents that go."""
    dropped_by: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[tasks]: documents that go because of a task; one that holds examples of two counts for both."""
    best: dict[int, _Best] = field(default_factory=dict)

    def coverage(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[examples] twice, before and after: share of an example's n-grams that the corpus holds, whether they count
        or not. NaN for an example that cannot be checked.
        """
        return self._share(self.documents > 0), self._share(self.after)

    def examples(self) -> pa.Table:
        """A row for each example, of `EXAMPLES_SCHEMA`."""
        index = self.index
        before, after = self.coverage()
        columns = [
            [index.tasks[number] for number in index.task],
            [index.files[number] for number in index.file],
            index.row,
            index.words,
            index.grams,
            pa.array(before, from_pandas=True),
            pa.array(after, from_pandas=True),
            [key.decode() for key in index.key.tolist()],
        ]
        arrays = [pa.array(column, of.type) for column, of in zip(columns, EXAMPLES_SCHEMA, strict=True)]
        return pa.table(arrays, schema=EXAMPLES_SCHEMA)

    def report(self) -> dict[str, Any]:
        """The same for people, as what JSON holds."""
        settings = {"n": self.index.n, "min_words": self.index.min_words, **self.settings.deciding()}
        before, after = self.coverage()
        common = np.lexsort((self.ignored, -self.documents[self.ignored]))[:SHOWN_PHRASES]
        phrases = [self._phrase(int(self.ignored[at])) for at in common]
        return {
            "version": 1,
            "settings": settings,
            "ngrams": len(self.index.hashes),
            "documents_with_hits": self.hit,
            "documents_dropped": self.dropped,
            "tasks": {name: self._task(number, before, after) for number, name in enumerate(self.index.tasks)},
            "ignored": {"ngrams": len(self.ignored), "commonest": phrases},
        }

    def save(self, output: str) -> None:
        """Write both files below a curation's output."""
        sink = io.BytesIO()
        pq.write_table(self.examples(), sink, compression="zstd")
        storage.write_bytes(storage.join(output, EXAMPLES_FILE), sink.getvalue())
        storage.write_json(storage.join(output, REPORT_FILE), self.report())

    def _share(self, seen: NDArray[np.bool_]) -> NDArray[np.float64]:
        index = self.index
        holders = index.holders[np.repeat(seen, np.diff(index.bounds))]
        counts = np.bincount(holders, minlength=len(index.grams))
        share = np.full(len(index.grams), np.nan)
        np.divide(counts, index.grams, out=share, where=index.grams > 0)
        return share

    def _task(self, number: int, before: NDArray[np.float64], after: NDArray[np.float64]) -> dict[str, Any]:
        own = np.flatnonzero(self.index.task == number)
        seen = own[before[own] > 0].tolist()
        worst = sorted(seen, key=lambda example: (-before[example], example not in self.best, example))
        checkable = int((self.index.grams[own] > 0).sum())
        return {
            "files": sorted({self.index.files[file] for file in self.index.file[own]}),
            "examples": len(own),
            "checkable": checkable,
            "not_checkable": len(own) - checkable,
            "before": _seen(before[own]),
            "after": _seen(after[own]),
            "documents_dropped": int(self.dropped_by[number]),
            "most_contaminated": [
                self._side_by_side(example, float(before[example]), float(after[example]))
                for example in worst[:SHOWN_EXAMPLES]
            ],
        }

    def _side_by_side(self, example: int, before: float, after: float) -> dict[str, Any]:
        index = self.index
        shown: dict[str, Any] = {
            "file": index.files[index.file[example]],
            "row": int(index.row[example]),
            "coverage_before": before,
            "coverage_after": after,
            "document": None,
            "document_text": None,
            "example_text": excerpt(index.texts(example)[0].as_buffer().to_pybytes()),
        }
        best = self.best.get(example)
        place = index.place(example, best.anchor) if best else None
        if best and place:
            text, begin, _ = place
            shown |= {"document": best.id, "document_text": best.excerpt}
            shown["example_text"] = excerpt(text.encode()[begin:])
        return shown

    def _phrase(self, gram: int) -> dict[str, Any]:
        place = self.index.place(int(self.index.holders[self.index.bounds[gram]]), gram)
        assert place is not None
        text, begin, end = place
        return {"text": excerpt(text.encode()[begin:end]), "documents": int(self.documents[gram])}


def reduce(hits: Sequence[str], index: Index, settings: DecontaminationSettings) -> Summary:
    """Bring all units together: two passes over their hits, in memory arrays of the index's size.

    Args:
        hits: locations of all units' hits; their order and cut change nothing.
        index: of the examples.
        settings: the rule.
    """
    documents = np.zeros(len(index.hashes), np.int64)
    for location in hits:
        for _, _, grams in hits_in(location):
            np.add.at(documents, grams, 1)
    common = (
        documents > settings.max_documents if settings.max_documents is not None else np.zeros(len(documents), bool)
    )
    ignored = np.flatnonzero(common).astype(np.int32)
    found = Summary(index, settings, ignored, documents, np.zeros(len(documents), bool))
    found.dropped_by = np.zeros(len(index.tasks), np.int64)
    judge = Judge(index, settings, ignored)
    for location in hits:
        for batch, bounds, grams in hits_in(location):
            found.hit += batch.num_rows
            stays = np.ones(batch.num_rows, bool)
            for pairs in judge.pairs(bounds, grams):
                gone = pairs.document[pairs.gone]
                stays[gone] = False
                tasks = np.unique(gone * len(index.tasks) + index.task[pairs.example[pairs.gone]])
                found.dropped_by += np.bincount(tasks % len(index.tasks), minlength=len(index.tasks))
                _keep_best(found.best, batch, pairs, index)
            found.dropped += int(batch.num_rows - stays.sum())
            found.after[grams[np.repeat(stays, np.diff(bounds))]] = True
    return found


def _keep_best(best: dict[int, _Best], batch: pa.RecordBatch, pairs: Pairs, index: Index) -> None:
    """Take note of documents that show an example better than those before: their longest match lies in it."""
    documents = np.unique(pairs.document)
    anchors = batch["anchor"].to_numpy()[documents]
    first, count = index.bounds[anchors], index.bounds[anchors + 1] - index.bounds[anchors]
    places = np.arange(int(count.sum())) + np.repeat(first - (np.cumsum(count) - count), count)
    shown = np.repeat(documents, count) * len(index.row) + index.holders[places]
    inside = np.isin(pairs.document * len(index.row) + pairs.example, shown)
    for at in np.flatnonzero(inside).tolist():
        row, example = int(pairs.document[at]), int(pairs.example[at])
        known = best.get(example)
        if known is not None and pairs.held[at] < known.held:
            continue
        values = (batch[name][row].as_py() for name in ("words", "id", "excerpt", "anchor"))
        found = _Best(int(pairs.held[at]), *values)
        if known is None or found.before(known):
            best[example] = found


def _seen(share: NDArray[np.float64]) -> dict[str, int]:
    """Examples of which the corpus holds something, at least half, everything."""
    return {"any": int((share > 0).sum()), "half": int((share >= 0.5).sum()), "whole": int((share >= 1).sum())}
