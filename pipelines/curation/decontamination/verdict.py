"""Which documents go: what each holds of each example, the rule, and a row for every removal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.curation.decontamination.index import Index
from pipelines.curation.decontamination.scan import HITS_SCHEMA
from pipelines.curation.decontamination.settings import DecontaminationSettings
from pipelines.curation.documents import REMOVALS_SCHEMA
from pipelines.curation.tables import batches

STAGE = "decontamination"

MOST_PAIRS = 4_000_000
"""So many (n-gram, example) pairs are worked on at a time: n-grams may be held by thousands of examples."""


@dataclass(frozen=True)
class Pairs:
    """What documents hold of examples: one entry for each document and each example that share counted n-grams."""

    document: NDArray[np.int64]
    """Places of documents, ascending."""
    example: NDArray[np.int64]
    """Numbers of examples, ascending for each document."""
    held: NDArray[np.int64]
    """Different n-grams of the example that the document holds."""
    gone: NDArray[np.bool_]
    """Whether they are enough for the document to go."""


class Judge:
    """The rule over an index.

    Args:
        index: of the examples.
        settings: the rule.
        ignored: numbers of the n-grams that do not count.
    """

    def __init__(self, index: Index, settings: DecontaminationSettings, ignored: NDArray[np.int32]) -> None:
        self.index, self.settings = index, settings
        self._counts = np.ones(len(index.hashes), bool)
        self._counts[ignored] = False
        holders = index.holders[np.repeat(self._counts, np.diff(index.bounds))]
        self.counted = np.bincount(holders, minlength=len(index.row))
        """[examples]: n-grams that count."""
        least = {"any": 1, "count": settings.min_count, "coverage": 0}[settings.rule]
        self._least = np.minimum(least, self.counted)

    def pairs(self, bounds: NDArray[np.int64], grams: NDArray[np.int32]) -> Iterator[Pairs]:
        """Judge documents, some at a time.

        Args:
            bounds: [n + 1], document i holds grams[bounds[i]:bounds[i + 1]].
            grams: numbers of n-grams, each once a document.
        """
        counts = np.where(self._counts[grams], np.diff(self.index.bounds)[grams], 0)
        upto = np.concatenate([[0], np.cumsum(counts)])[bounds]
        first = 0
        while first < len(bounds) - 1:
            last = max(first + 1, int(np.searchsorted(upto, upto[first] + MOST_PAIRS, "right")) - 1)
            some = slice(bounds[first], bounds[last])
            document = np.repeat(np.arange(first, last), np.diff(bounds[first : last + 1]))
            yield self._judge(document, grams[some], counts[some])
            first = last

    def _judge(self, document: NDArray[np.int64], grams: NDArray[np.int32], counts: NDArray[np.int64]) -> Pairs:
        # The places in `holders` of all examples of all n-grams, one range after another.
        begins = np.cumsum(counts) - counts
        places = np.arange(int(counts.sum())) + np.repeat(self.index.bounds[grams] - begins, counts)
        key = np.repeat(document, counts) * len(self.index.row) + self.index.holders[places]
        different, held = np.unique(key, return_counts=True)
        of, example = np.divmod(different, max(1, len(self.index.row)))
        return Pairs(of, example, held, self._enough(example, held))

    def _enough(self, example: NDArray[np.int64], held: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.settings.rule == "coverage":
            return np.asarray(held / self.counted[example] >= self.settings.min_coverage)
        return np.asarray(held >= self._least[example])

    def score(self, example: int, held: int) -> tuple[float, float]:
        """What the rule compares, and with what."""
        if self.settings.rule == "coverage":
            return held / float(self.counted[example]), self.settings.min_coverage
        return float(held), float(self._least[example])


def hits_in(location: str) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64], NDArray[np.int32]]]:
    """A file of hits: batches, and of each the bounds of its documents in their n-grams."""
    for batch in batches(location, HITS_SCHEMA.names):
        grams = batch["grams"]
        offsets = np.asarray(grams.offsets, np.int64)
        yield batch, offsets - offsets[0], np.asarray(grams.flatten(), np.int32)


def removals_of(location: str, index: Index, ignored: NDArray[np.int32], settings: DecontaminationSettings) -> pa.Table:
    """A unit's removals, of `REMOVALS_SCHEMA`, by position: a row for each document that goes.

    The reason is the task whose example it holds most of, the score what the rule compared: n-grams, or their share.

    Args:
        location: the unit's hits.
        index: of the examples.
        ignored: the n-grams that do not count, as `summary.reduce` finds them.
        settings: the rule.
    """
    judge = Judge(index, settings, ignored)
    rows: list[tuple[Any, ...]] = []
    for batch, bounds, grams in hits_in(location):
        for pairs in judge.pairs(bounds, grams):
            rows += _removals(batch, pairs, judge)
    columns = list(zip(*sorted(rows), strict=True)) or [()] * len(REMOVALS_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, REMOVALS_SCHEMA, strict=True)]
    return pa.table(arrays, schema=REMOVALS_SCHEMA)


def _removals(batch: pa.RecordBatch, pairs: Pairs, judge: Judge) -> Iterator[tuple[Any, ...]]:
    index = judge.index
    gone = np.flatnonzero(pairs.gone)
    if not len(gone):
        return
    document, example, held = pairs.document[gone], pairs.example[gone], pairs.held[gone]
    share = held / judge.counted[example]
    # The worst first: most of the example, then most n-grams, then the order of tasks, files and rows.
    order = np.lexsort((example, -held, -share, document))
    _, first = np.unique(document[order], return_index=True)
    tasks = index.task[example]
    for at, own in zip(order[first].tolist(), np.split(order, first[1:]), strict=True):
        row, worst = int(document[at]), int(example[at])
        task = index.tasks[index.task[worst]]
        others = [index.tasks[number] for number in np.unique(tasks[own]) if number != index.task[worst]]
        score, threshold = judge.score(worst, int(held[at]))
        words, text = batch["words"][row].as_py(), batch["excerpt"][row].as_py()
        also = f"; also {', '.join(others)}" if others else ""
        detail = f"{place_of(index, worst)}, {words} words: {text}{also}"
        yield batch["position"][row].as_py(), STAGE, f"contaminated_by_{task}", score, threshold, detail


def place_of(index: Index, example: int) -> str:
    """Task, file and line of an example."""
    return f"{index.tasks[index.task[example]]} {index.files[index.file[example]]}:{index.row[example]}"
