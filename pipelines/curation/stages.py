"""What is done to one unit: `process` (extract, measure, decide) and `publish`. Files to files, without Ray.

`process` is one pass: batches of documents flow from the source, or from what an earlier run extracted, through
signals and rules, and each stage that is not done yet leaves its files on the way. Each asserts its conservation:
what went in came out as a document or as a reject.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.curation import extraction
from pipelines.curation.documents import (
    EXTRACTED_SCHEMA,
    REJECT_SCHEMA,
    SPANS_SCHEMA,
    Raw,
    document_id,
    excerpt,
    make_storable,
    storable,
)
from pipelines.curation.judging import Judgement, Removal, judge
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import Unit
from pipelines.curation.rules.base import Batch
from pipelines.curation.tables import BATCH_CHARACTERS, BATCH_ROWS, TableWriter, batches
from pipelines.curation.workspace import Hashes, Workspace

DECISIONS_SCHEMA = pa.schema([("position", pa.int64()), ("id", pa.string()), ("text", pa.large_string())])
"""The documents that the rules keep: their row in the documents file, and edited text or null."""


class ConservationError(Exception):
    """Documents appeared or vanished: a bug, and the output cannot be trusted."""


def conserve(where: str, came: int, kept: int, rejected: int) -> None:
    """Raises ConservationError unless what came is what was kept and what was rejected."""
    if came != kept + rejected:
        raise ConservationError(f"{where}: {came} documents came in, {kept} kept + {rejected} rejected went out")


def process(unit: Unit, hashes: Hashes, gauge: Gauge, place: Workspace) -> dict[str, Any]:
    """Extract, measure and decide a unit, as far as it is not done; returns the manifest of the decisions."""
    settings = hashes.settings
    source = settings.sources[unit.source]
    rules = settings.rules_of(source)
    language_for = gauge.languages.for_language
    position = 0
    flips: Counter[tuple[str, str, str]] = Counter()
    edited = cut = 0
    flow = measured(unit, hashes, gauge, place)
    with (
        TableWriter(place.decisions(unit), DECISIONS_SCHEMA) as decisions,
        TableWriter(place.stage_rejects("decide", unit), REJECT_SCHEMA) as rejects,
        TableWriter(place.stage_spans(unit), SPANS_SCHEMA) as spans,
    ):
        # The first batch is made before this stage begins, so that its beginning voids what earlier stages just wrote.
        begun = False
        for documents, batch, scores in flow:
            if not begun:
                place.begin("decide", unit.name)
                begun = True
            verdict = decide(batch, scores, rules, settings.language.keep_for(source.language), gauge, language_for)
            for row, why in sorted(verdict.removed.items()):
                rejects.add(_reject(documents, batch, source.name, row, why))
            stays = np.array([row for row in range(len(batch)) if row not in verdict.removed], np.int64)
            decisions.write(_decisions(batch, stays, verdict, position))
            for rule, table in verdict.spans:
                spans.write(_spans(batch, rule, table))
                cut += table.num_rows
            flips.update(verdict.flips)
            edited += len(verdict.texts)
            position += len(batch)
        if not begun:
            place.begin("decide", unit.name)
    conserve(f"deciding {unit.name}", position, decisions.rows, rejects.rows)
    # A worker lives for many units, and shares its node with others.
    pa.default_memory_pool().release_unused()
    counters = {
        "in": position,
        "documents": decisions.rows,
        "rejects": rejects.rows,
        "edited": edited,
        "spans": cut,
        "flips": [[*key, count] for key, count in sorted(flips.items())],
    }
    return place.commit("decide", unit.name, hashes.decide(unit), counters)


def decide(
    batch: Batch,
    scores: NDArray[np.float64],
    rules: Sequence[Any],
    keep: dict[str, float] | None,
    gauge: Gauge,
    for_language: Any,
) -> Judgement:
    """Language first, then the rules."""
    shares = batch.signals.get("language_share")
    found = judge_languages(batch.language, scores, keep, shares, gauge.settings.language.min_share)
    foreign = {row: why for row, why in enumerate(found) if why is not None}
    if not foreign:
        return judge(batch, rules, gauge.measure_names, for_language)
    stays = np.array([row for row in range(len(batch)) if row not in foreign], np.int64)
    verdict = judge(batch.take(stays), rules, gauge.measure_names, for_language)
    verdict.removed = foreign | {int(stays[row]): why for row, why in verdict.removed.items()}
    verdict.texts = {int(stays[row]): text for row, text in verdict.texts.items()}
    verdict.spans = [
        (rule, table.set_column(0, table.schema.field(0), pa.array(stays[table["row"].to_numpy()])))
        for rule, table in verdict.spans
    ]
    return verdict


def judge_languages(
    languages: Sequence[str],
    scores: NDArray[np.float64],
    keep: dict[str, float] | None,
    shares: NDArray[np.float64] | None = None,
    min_share: float | None = None,
) -> Iterator[Removal | None]:
    """Whether each document is in a language that is kept, surely enough, and mostly (`keep` None keeps all)."""
    for row, (language, score) in enumerate(zip(languages, scores.tolist(), strict=True)):
        words = f"identified as {language or 'no language'}"
        if keep is None:
            yield None
        elif language not in keep:
            yield Removal("language", "other_language", score, None, words)
        elif score <= keep[language]:
            yield Removal("language", "language_score", score, keep[language], words)
        elif shares is not None and min_share is not None and shares[row] < min_share:
            yield Removal("language", "mixed_languages", float(shares[row]), min_share, words)
        else:
            yield None


def measured(
    unit: Unit, hashes: Hashes, gauge: Gauge, place: Workspace
) -> Iterator[tuple[pa.RecordBatch, Batch, NDArray[np.float64]]]:
    """A unit's documents with their signals: (as extracted, for the rules, language scores).

    Signals are read where they are stored for these settings, else measured and stored.
    """
    wanted = hashes.measure(unit)
    source = hashes.settings.sources[unit.source]
    flow = extracted(unit, hashes, gauge, place)
    if place.done("measure", unit.name, wanted) is not None:
        for documents, stored in zip(flow, batches(place.signals(unit)), strict=True):
            yield documents, *_for_rules(documents, stored)
        return
    schema = gauge.schema(source)
    rows = 0
    begun = False
    with TableWriter(place.signals(unit), schema) as signals:
        for documents in flow:
            if not begun:
                place.begin("measure", unit.name)
                begun = True
            values = gauge.measure(documents["text"], source, documents["language_hint"].to_pylist())
            signals.write(values)
            rows += values.num_rows
            yield documents, *_for_rules(documents, values)
        if not begun:
            place.begin("measure", unit.name)
    place.commit("measure", unit.name, wanted, {"documents": rows})


def extracted(unit: Unit, hashes: Hashes, gauge: Gauge, place: Workspace) -> Iterator[pa.RecordBatch]:
    """A unit's documents in batches: read where an earlier run extracted them, else extracted and stored."""
    wanted = hashes.extract(unit)
    if place.done("extract", unit.name, wanted) is not None:
        yield from batches(place.documents(unit))
        return
    place.begin("extract", unit.name)
    source = hashes.settings.sources[unit.source]
    came = bytes_in = 0
    with (
        TableWriter(place.documents(unit), EXTRACTED_SCHEMA) as documents,
        TableWriter(place.stage_rejects("extract", unit), REJECT_SCHEMA) as rejects,
    ):
        rows: list[tuple[Any, ...]] = []
        characters = 0
        for split in unit.splits:
            for raw, found in gauge.extractor(_storable(source.read(split))):
                came += 1
                bytes_in += raw.size
                name = document_id(source.name, split.key, raw.position)
                if found.problem is not None:
                    rejects.add(_unreadable(name, source.name, split.path, raw, found))
                    continue
                license = raw.license or source.license
                rows.append(
                    (name, found.text, raw.url, license, raw.language, raw.date, found.title, split.path, raw.position)
                )
                characters += len(found.text)
                if len(rows) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
                    batch = _batch(rows)
                    documents.write(batch)
                    yield batch
                    rows, characters = [], 0
        if rows:
            batch = _batch(rows)
            documents.write(batch)
            yield batch
    conserve(f"extracting {unit.name}", came, documents.rows, rejects.rows)
    counters = {"in": came, "bytes_in": bytes_in, "documents": documents.rows, "rejects": rejects.rows}
    place.commit("extract", unit.name, wanted, counters)


def _storable(raws: Iterator[Raw]) -> Iterator[Raw]:
    for raw in raws:
        make_storable(raw)
        yield raw


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, EXTRACTED_SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=EXTRACTED_SCHEMA)


def _for_rules(documents: pa.RecordBatch, signals: pa.RecordBatch) -> tuple[Batch, NDArray[np.float64]]:
    names = signals.schema.names[2:]
    batch = Batch(
        documents["id"].to_pylist(),
        documents["text"],
        documents["url"].to_pylist(),
        signals["language"].to_pylist(),
        {name: signals[name].to_numpy() for name in names},
    )
    return batch, signals["language_score"].to_numpy()


def _decisions(batch: Batch, stays: NDArray[np.int64], verdict: Judgement, position: int) -> pa.RecordBatch:
    columns = [
        pa.array(stays + position),
        pa.array([batch.id[row] for row in stays], pa.string()),
        pa.array([verdict.texts.get(row) for row in stays.tolist()], pa.large_string()),
    ]
    return pa.record_batch(columns, schema=DECISIONS_SCHEMA)


def _spans(batch: Batch, rule: str, spans: pa.Table) -> pa.RecordBatch:
    rows = spans["row"].to_pylist()
    columns = [
        pa.array([batch.id[row] for row in rows], pa.string()),
        pa.array([rule] * len(rows), pa.string()),
        *(spans[name].combine_chunks() for name in ("reason", "begin", "bytes", "text")),
    ]
    arrays = [column.cast(field.type) for column, field in zip(columns, SPANS_SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SPANS_SCHEMA)


def _reject(documents: pa.RecordBatch, batch: Batch, source: str, row: int, why: Removal) -> tuple[Any, ...]:
    """A row of `REJECT_SCHEMA` for a document that was read."""
    text = batch.text[row]
    return (
        batch.id[row],
        batch.url[row],
        source,
        why.stage,
        why.reason,
        why.score,
        why.threshold,
        excerpt(text.as_py()),
        storable(why.detail),
        text.as_buffer().size,
        int(batch.signals["words"][row]),
        batch.language[row],
        documents["file"][row].as_py(),
        documents["position"][row].as_py(),
    )


def _unreadable(name: str, source: str, path: str, raw: Raw, found: extraction.Extracted) -> tuple[Any, ...]:
    """The same for a record that gave no text."""
    stage = "read" if raw.problem is not None else "extraction"
    body = excerpt(raw.text if raw.text is not None else raw.html)
    what = (found.problem, found.score, found.threshold, body, storable(found.detail), raw.size)
    return name, raw.url, source, stage, *what, None, None, path, raw.position
