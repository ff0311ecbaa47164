"""The last stage of a unit: its part of the corpus, of the rejects and of the spans, and what the funnel counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipelines.curation.decisions import Decided
from pipelines.curation.dedup.lines.cutting import Cuts
from pipelines.curation.documents import CORPUS_SCHEMA, REJECT_SCHEMA, SPANS_SCHEMA, excerpt
from pipelines.curation.judging import Removal
from pipelines.curation.planning import Unit
from pipelines.curation.settings import CurationSettings
from pipelines.curation.tables import TableWriter, batches, describe
from pipelines.curation.workspace import Workspace

SAMPLES_PER_REASON, SAMPLES_KEPT = 3, 10


def publish(
    unit: Unit,
    settings: CurationSettings,
    place: Workspace,
    removals: Sequence[str],
    stage_hash: str,
    cuts: Sequence[str] = (),
) -> dict[str, Any]:
    """Write a unit's corpus, rejects and spans; returns the manifest with what the funnel counts.

    Args:
        removals: locations of lists of documents that stages over the whole corpus removed, rows of `REMOVALS_SCHEMA`.
        stage_hash: what the outputs depend on.
        cuts: locations of lists of what is cut out of others, rows of `CUTS_SCHEMA`: none, or one.
    """
    place.begin("publish", unit.name)
    source = settings.sources[unit.source].name
    removed_by: dict[int, Removal] = {}
    for location in removals:
        for batch in batches(location):
            for row in batch.to_pylist():
                removed_by.setdefault(row.pop("position"), Removal(**row))
    tally = Tally(source)
    taken: list[tuple[Any, ...]] = []
    gone: set[str] = set()
    decided, cut = Decided(place.decisions(unit)), Cuts(cuts)
    pieces: list[pa.RecordBatch] = []
    position = 0
    with TableWriter(place.corpus(unit), CORPUS_SCHEMA) as corpus:
        for documents, signals in zip(batches(place.documents(unit)), batches(place.signals(unit)), strict=True):
            rows, edits = decided.until(position + documents.num_rows)
            take = pa.array(rows - position)
            chosen = documents.take(take)
            texts, gone_pieces = cut.apply(chosen["id"], rows, pc.coalesce(edits, chosen["text"]))
            pieces.append(gone_pieces)
            language, score = signals["language"].take(take), signals["language_score"].take(take)
            words = signals["words"].take(take)
            columns = [
                chosen["id"],
                texts,
                chosen["url"],
                pa.array([source] * len(rows), pa.string()),
                chosen["license"],
                language,
                score.cast(pa.float32()),
                chosen["date"],
                chosen["title"],
                chosen["file"],
                chosen["position"],
            ]
            batch = pa.record_batch(columns, schema=CORPUS_SCHEMA)
            away = [row for row, place_in_unit in enumerate(rows.tolist()) if place_in_unit in removed_by]
            if away:
                for row in away:
                    taken.append(_reject(batch, row, words[row].as_py(), removed_by[int(rows[row])]))
                    gone.add(taken[-1][0])
                stays = pa.array(np.setdiff1d(np.arange(len(rows)), away))
                batch, words = batch.take(stays), words.take(stays)
            tally.keep(batch, words)
            corpus.write(batch)
            position += documents.num_rows
    with TableWriter(place.rejects(unit), REJECT_SCHEMA) as rejects:
        for stage in ("extract", "decide"):
            for removed in batches(place.stage_rejects(stage, unit)):
                tally.reject(removed)
                rejects.write(removed)
        if taken:
            arrays = zip(*taken, strict=True)
            removed = pa.record_batch(
                [pa.array(column, field.type) for column, field in zip(arrays, REJECT_SCHEMA, strict=True)],
                schema=REJECT_SCHEMA,
            )
            tally.reject(removed)
            rejects.write(removed)
    with TableWriter(place.spans(unit), SPANS_SCHEMA) as spans:
        removed_ids = pa.array(sorted(gone), pa.string())
        by_rules = (
            each.filter(pc.invert(pc.is_in(each["id"], removed_ids))) for each in batches(place.stage_spans(unit))
        )
        for each in chain(by_rules, pieces):
            tally.cut(each)
            spans.write(each)
    counters = {"documents": corpus.rows, "rejects": rejects.rows, "spans": spans.rows}
    files = {"corpus": describe(place.corpus(unit))}
    return place.commit("publish", unit.name, stage_hash, {**counters, **files, **tally.counters()})


def _reject(batch: pa.RecordBatch, row: int, words: float, why: Removal) -> tuple[Any, ...]:
    """A row of `REJECT_SCHEMA` for a document that the rules kept."""
    value = {name: batch[name][row].as_py() for name in batch.schema.names}
    size = len(value["text"].encode())
    place = (value["language"], value["file"], value["position"])
    reason = (why.stage, why.reason, why.score, why.threshold, excerpt(value["text"]), why.detail, size, int(words))
    return value["id"], value["url"], value["source"], *reason, *place


class Tally:
    """What the funnel wants to know of a unit: documents, bytes and words, kept and by reason, and samples."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.languages: dict[str, Counter[str]] = defaultdict(Counter)
        self.licenses: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = defaultdict(Counter)
        self.removed_languages: dict[str, Counter[str]] = defaultdict(Counter)
        self.spans: dict[str, Counter[str]] = defaultdict(Counter)
        self._kept = _Lowest(SAMPLES_KEPT)
        self._removed: dict[str, _Lowest] = defaultdict(lambda: _Lowest(SAMPLES_PER_REASON))

    def keep(self, batch: pa.RecordBatch, words: pa.Array) -> None:
        """Documents of the corpus."""
        sizes = pc.binary_length(batch["text"]).to_pylist()
        languages = batch["language"].to_pylist()
        for language, size, count in zip(languages, sizes, words.to_pylist(), strict=True):
            counter = self.languages[language]
            counter["documents"] += 1
            counter["bytes"] += size
            counter["words"] += int(count)
        self.licenses.update(license or "unknown" for license in batch["license"].to_pylist())
        for row, name in self._kept.chosen(batch["id"].to_pylist()):
            text = batch["text"][row].as_py()
            self._kept.put(
                name, {"id": name, "source": self.source, "language": languages[row], "excerpt": excerpt(text)}
            )

    def reject(self, batch: pa.RecordBatch) -> None:
        """Rows of `REJECT_SCHEMA`."""
        for row in batch.to_pylist():
            reason = f"{row['stage']}/{row['reason']}"
            self.reasons[reason].update(documents=1, bytes=row["bytes"], words=row["words"] or 0)
            self.removed_languages[row["language"] or ""].update({reason: 1})
            lowest = self._removed[reason]
            for _, name in lowest.chosen([row["id"]]):
                shown = ("id", "source", "stage", "reason", "score", "threshold", "excerpt")
                lowest.put(name, {key: row[key] for key in shown})

    def cut(self, batch: pa.RecordBatch) -> None:
        """Rows of `SPANS_SCHEMA`."""
        for stage, reason, size in zip(*(batch[n].to_pylist() for n in ("stage", "reason", "bytes")), strict=True):
            self.spans[f"{stage}/{reason}"].update(spans=1, bytes=size)

    def counters(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "bytes": sum(counts["bytes"] for counts in self.languages.values()),
            "words": sum(counts["words"] for counts in self.languages.values()),
            "languages": dict(sorted(self.languages.items())),
            "licenses": dict(sorted(self.licenses.items())),
            "reasons": dict(sorted(self.reasons.items())),
            "removed_languages": dict(sorted(self.removed_languages.items())),
            "cut": dict(sorted(self.spans.items())),
            "kept_samples": self._kept.values(),
            "samples": {reason: lowest.values() for reason, lowest in sorted(self._removed.items())},
        }


class _Lowest:
    """Keeps the values whose names hash lowest: a choice that does not depend on order or units."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: list[tuple[int, str, dict[str, Any]]] = []

    def chosen(self, names: Sequence[str]) -> list[tuple[int, str]]:
        """(row, name) of those that may be among the lowest."""
        ranks = [sample_rank(name) for name in names]
        bar = self._values[-1][0] if len(self._values) == self._most else None
        order = sorted(range(len(names)), key=ranks.__getitem__)[: self._most]
        return [(row, names[row]) for row in order if bar is None or ranks[row] < bar]

    def put(self, name: str, value: dict[str, Any]) -> None:
        """A value of a name that `chosen` gave."""
        self._values.append((sample_rank(name), name, value))
        self._values.sort(key=lambda entry: entry[:2])
        del self._values[self._most :]

    def values(self) -> list[dict[str, Any]]:
        """The lowest first."""
        return [value for _, _, value in self._values]


def sample_rank(name: str) -> int:
    """Orders documents at random, always in the same way."""
    return int(xxhash.xxh3_64_intdigest(name.encode()))
