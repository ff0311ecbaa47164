"""What is done to one unit: `extract`, `decide`, `publish`. Plain functions from files to files, without Ray.

Each asserts its conservation: what went in came out as a document or as a reject.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import xxhash

from pipelines import storage
from pipelines.curation import extraction
from pipelines.curation.documents import (
    CORPUS_SCHEMA,
    PROVENANCE,
    REJECT_SCHEMA,
    Rejection,
    document_id,
    excerpt,
    make_storable,
    storable,
)
from pipelines.curation.language import Identifier
from pipelines.curation.rules import Edit, Rule
from pipelines.curation.settings import CurationSettings
from pipelines.curation.signals import Signals, measure
from pipelines.curation.tables import TableWriter, batches, describe
from pipelines.curation.units import Unit, Workspace

DOCUMENT_COLUMNS = ["id", "text", "url", "license", "language", "language_score", "date", "title", "file", "row"]
DOCUMENTS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        *[(name, pa.string()) for name in ("url", "license", "language")],
        ("language_score", pa.float64()),
        *[(name, pa.string()) for name in ("date", "title")],
        *PROVENANCE,
        *[(name, pa.float64()) for name in Signals._fields],
    ]
)
"""Documents as extracted, and their signals: `extract` writes it and nothing changes it."""

DECISIONS_SCHEMA = pa.schema(
    [("position", pa.int64()), ("id", pa.string()), ("key", pa.binary(16)), ("text", pa.large_string())]
)
"""The documents that the rules keep: their row in the documents file, key of their text, and edited text or null."""

REMOVALS_SCHEMA = pa.schema([("unit", pa.string()), ("position", pa.int64()), ("kept", pa.string())])
"""Duplicates: the document at a unit's position goes, `kept` has the same text."""

SAMPLES_PER_REASON, SAMPLES_KEPT = 3, 10


class ConservationError(Exception):
    """Documents appeared or vanished: a bug, and the output cannot be trusted."""


def conserve(where: str, came: int, kept: int, rejected: int) -> None:
    """Raises ConservationError unless what came is what was kept and what was rejected."""
    if came != kept + rejected:
        raise ConservationError(f"{where}: {came} documents came in, {kept} kept + {rejected} rejected went out")


def extract(
    unit: Unit, settings: CurationSettings, identifier: Identifier, place: Workspace, stage_hash: str
) -> dict[str, Any]:
    """Read a unit's files: texts, languages and signals; returns the manifest."""
    place.begin("extract", unit.name)
    source = settings.sources[unit.source]
    came = bytes_in = 0
    with (
        TableWriter(place.documents(unit), DOCUMENTS_SCHEMA, text_column=1) as documents,
        TableWriter(place.stage_rejects("extract", unit), REJECT_SCHEMA) as rejects,
    ):
        for position, path, _, _ in unit.files:
            for raw in source.read(path, position):
                make_storable(raw)
                came += 1
                bytes_in += raw.size
                name = document_id(source.name, raw.file, raw.row)
                found = extraction.extract(raw, settings.extraction)
                if found.problem is not None:
                    stage = "read" if raw.problem is not None else "extraction"
                    why = Rejection(stage, found.problem, found.score, found.threshold)
                    body = excerpt(raw.text if raw.text is not None else raw.html)
                    rejects.add(_reject(name, raw.url, source.name, why, body, found.detail, raw.size, path, raw.row))
                    continue
                if source.language is not None:
                    language, score = source.language, 1.0
                else:
                    language, score = identifier.identify(found.text)
                documents.add(
                    (
                        name,
                        found.text,
                        raw.url,
                        raw.license or source.license,
                        language,
                        score,
                        raw.date,
                        found.title,
                        path,
                        raw.row,
                        *measure(found.text, language),
                    )
                )
    conserve(f"extracting {unit.name}", came, documents.rows, rejects.rows)
    counters = {"in": came, "bytes_in": bytes_in, "documents": documents.rows, "rejects": rejects.rows}
    return place.commit("extract", unit.name, stage_hash, counters)


def decide(unit: Unit, settings: CurationSettings, place: Workspace, stage_hash: str) -> dict[str, Any]:
    """Judge a unit's documents by language and rules; returns the manifest."""
    place.begin("decide", unit.name)
    source = settings.sources[unit.source]
    rules = settings.rules_of(source)
    keep = None if source.language is not None else settings.language.keep
    position = 0
    with (
        TableWriter(place.decisions(unit), DECISIONS_SCHEMA, text_column=3) as decisions,
        TableWriter(place.stage_rejects("decide", unit), REJECT_SCHEMA) as rejects,
    ):
        for batch in batches(place.documents(unit)):
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            for name, text, url, _, language, score, _, _, file, row, *values in rows:
                verdict = judge_language(language, score, keep) or judge(text, language, Signals(*values), rules)
                if isinstance(verdict, Rejection):
                    size = len(text.encode())
                    detail = f"identified as {language or 'no language'}" if verdict.stage == "language" else ""
                    rejects.add(_reject(name, url, source.name, verdict, excerpt(text), detail, size, file, row))
                else:
                    edited = verdict.text if verdict else None
                    decisions.add((position, name, text_key(text if edited is None else edited), edited))
                position += 1
    conserve(f"deciding {unit.name}", position, decisions.rows, rejects.rows)
    counters = {"in": position, "documents": decisions.rows, "rejects": rejects.rows}
    return place.commit("decide", unit.name, stage_hash, counters)


def judge_language(language: str, score: float, keep: dict[str, float] | None) -> Rejection | None:
    """Whether a document is in a language that is kept, surely enough (None keeps all)."""
    if keep is None:
        return None
    if language not in keep:
        return Rejection("language", "other_language", score)
    if score <= keep[language]:
        return Rejection("language", "language_score", score, keep[language])
    return None


def judge(text: str, language: str, signals: Signals, rules: Sequence[Rule]) -> Rejection | Edit | None:
    """The rules in their order. An edit changes what later rules see, and the signals they judge by."""
    edit: Edit | None = None
    stale = False
    for rule in rules:
        if stale:
            signals, stale = measure(text, language), False
        verdict = rule.judge(text, language, signals)
        if isinstance(verdict, Rejection):
            return verdict
        if verdict is not None:
            edit, text, stale = verdict, verdict.text, True
    return edit


def text_key(text: str) -> bytes:
    """128 bits (xxh3) that name a text up to case and white space: two texts are duplicates if they agree."""
    return bytes(xxhash.xxh3_128_digest(" ".join(text.lower().split()).encode()))


def publish(
    unit: Unit, settings: CurationSettings, place: Workspace, removals: str | None, stage_hash: str
) -> dict[str, Any]:
    """Write a unit's corpus and rejects; returns the manifest with what the funnel counts.

    Args:
        removals: the location of the unit's duplicates, None if it has none.
    """
    place.begin("publish", unit.name)
    source = settings.sources[unit.source].name
    kept_by: dict[int, str] = {}
    if removals is not None:
        for batch in batches(removals, ["position", "kept"]):
            kept_by |= zip(batch["position"].to_pylist(), batch["kept"].to_pylist(), strict=True)
    decided = _decided(place, unit)
    chosen, edited = next(decided)
    tally = _Tally(source)
    removed: list[tuple[Any, ...]] = []
    position = 0
    with TableWriter(place.corpus(unit), CORPUS_SCHEMA, text_column=1) as corpus:
        for batch in batches(place.documents(unit), DOCUMENT_COLUMNS):
            rows = zip(*(batch[name].to_pylist() for name in DOCUMENT_COLUMNS), strict=True)
            for name, text, url, license, language, score, date, title, file, row in rows:
                if position == chosen:
                    text = text if edited is None else edited
                    if position in kept_by:
                        why = Rejection("exact_dedup", "duplicate_of")
                        size = len(text.encode())
                        removed.append(
                            _reject(name, url, source, why, excerpt(text), kept_by[position], size, file, row)
                        )
                    else:
                        tally.keep(name, text, language, license)
                        corpus.add((name, text, url, source, license, language, score, date, title, file, row))
                    chosen, edited = next(decided)
                position += 1
    for stage in ("extract", "decide"):
        for batch in batches(place.stage_rejects(stage, unit)):
            removed.extend(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    with TableWriter(place.rejects(unit), REJECT_SCHEMA) as rejects:
        for reject in sorted(removed, key=lambda reject: reject[0]):
            tally.reject(reject)
            rejects.add(reject)
    return place.commit(
        "publish",
        unit.name,
        stage_hash,
        {
            "documents": corpus.rows,
            "rejects": rejects.rows,
            "corpus": describe(place.corpus(unit)),
            **tally.counters(),
        },
    )


def _decided(place: Workspace, unit: Unit) -> Iterator[tuple[int, str | None]]:
    """Positions that the rules keep, ascending, with edited texts; then (-1, None)."""
    for batch in batches(place.decisions(unit), ["position", "text"]):
        yield from zip(batch["position"].to_pylist(), batch["text"].to_pylist(), strict=True)
    yield -1, None


class _Tally:
    """What the funnel wants to know of a unit."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.bytes = 0
        self.languages: dict[str, Counter[str]] = defaultdict(Counter)
        self.licenses: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = defaultdict(Counter)
        self.kept_samples: list[tuple[int, dict[str, Any]]] = []
        self.samples: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)

    def keep(self, name: str, text: str, language: str, license: str | None) -> None:
        size = len(text.encode())
        self.bytes += size
        self.languages[language].update(documents=1, bytes=size)
        self.licenses[license or "unknown"] += 1
        sample = {"id": name, "source": self.source, "language": language, "excerpt": excerpt(text)}
        _sample(self.kept_samples, name, sample, SAMPLES_KEPT)

    def reject(self, row: tuple[Any, ...]) -> None:
        value = dict(zip(REJECT_SCHEMA.names, row, strict=True))
        reason = f"{value['stage']}/{value['reason']}"
        self.reasons[reason].update(documents=1, bytes=value["bytes"])
        shown = ("id", "source", "stage", "reason", "score", "threshold", "excerpt")
        _sample(self.samples[reason], value["id"], {key: value[key] for key in shown}, SAMPLES_PER_REASON)

    def counters(self) -> dict[str, Any]:
        return {
            "bytes": self.bytes,
            "languages": dict(sorted(self.languages.items())),
            "licenses": dict(sorted(self.licenses.items())),
            "reasons": dict(sorted(self.reasons.items())),
            "kept_samples": [sample for _, sample in self.kept_samples],
            "samples": {reason: [sample for _, sample in kept] for reason, kept in sorted(self.samples.items())},
        }


def _sample(samples: list[tuple[int, dict[str, Any]]], name: str, value: dict[str, Any], most: int) -> None:
    """Keep the values whose names hash lowest: a choice that does not depend on order or units."""
    rank = sample_rank(name)
    if len(samples) < most or rank < samples[-1][0]:
        samples.append((rank, value))
        samples.sort(key=lambda pair: pair[0])
        del samples[most:]


def sample_rank(name: str) -> int:
    """Orders documents at random, always in the same way."""
    return int(xxhash.xxh3_64_intdigest(name.encode()))


def _reject(
    name: str,
    url: str | None,
    source: str,
    why: Rejection,
    body: str,
    detail: str,
    size: int,
    file: str,
    row: int,
) -> tuple[Any, ...]:
    """A row of `REJECT_SCHEMA`."""
    return name, url, source, why.stage, why.reason, why.score, why.threshold, body, storable(detail), size, file, row


def removals_fingerprint(place: Workspace, key: str, unit: Unit) -> tuple[str | None, str | None]:
    """Location and fingerprint of a unit's duplicates, (None, None) if it has none."""
    location = place.removals(key, unit)
    if not storage.exists(location):
        return None, None
    return location, storage.file_fingerprint(location)
