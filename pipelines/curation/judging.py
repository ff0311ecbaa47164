"""The rules, one after another, over a batch of documents: what goes, why, and what the others' texts become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.curation.rules.base import KEPT, SPAN_SCHEMA, Batch, Rule, ThresholdRule, Verdicts, failing

Measure = Callable[[pa.LargeStringArray, Sequence[str], Sequence[str]], Mapping[str, NDArray[np.float64]]]
"""(texts, their languages, signal names) -> values: what edited texts are measured with."""

ForLanguage = Callable[[Rule, str], Rule]
"""A rule with the thresholds of a language."""

MOVED = 0.1
"""By what share thresholds are moved to see how many documents would flip."""


@dataclass(frozen=True)
class Removal:
    """Why a document goes: what was measured (`score`) against what (`threshold`); either may be absent."""

    stage: str
    reason: str
    score: float | None = None
    threshold: float | None = None
    detail: str = ""


@dataclass
class Judgement:
    """What became of n documents."""

    removed: dict[int, Removal] = field(default_factory=dict)
    """Row -> why."""
    texts: dict[int, str] = field(default_factory=dict)
    """Row -> edited text, for documents that stay."""
    spans: list[tuple[str, pa.Table]] = field(default_factory=list)
    """(rule, rows of `SPAN_SCHEMA`) of documents that stay."""
    flips: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(rule, reason, "looser" or "stricter") -> documents on which that test alone would decide otherwise."""


def judge(batch: Batch, rules: Sequence[Rule], measure: Measure, for_language: ForLanguage | None = None) -> Judgement:
    """Send a batch through the rules. Each sees the documents that are left, with the edits made so far.

    An edited text is measured again before the next rule that reads signals.
    """
    result = Judgement()
    rows = np.arange(len(batch))
    stale = np.zeros(len(batch), bool)
    edited: dict[int, str] = {}
    for number, rule in enumerate(rules):
        if len(batch) == 0:
            break
        if stale.any() and rule.needs():
            names = frozenset[str]().union(*(later.needs() for later in rules[number:]))
            batch = measured_again(batch, np.flatnonzero(stale), sorted(names), measure)
            stale[:] = False
        verdicts = judged_by(rule, batch, for_language, result.flips)
        gone = verdicts.reason != KEPT
        for row in np.flatnonzero(gone):
            result.removed[int(rows[row])] = removal(rule, verdicts, int(row))
        if verdicts.spans is not None and verdicts.spans.num_rows:
            result.spans.append((rule.rule, _renumbered(verdicts.spans, rows)))
        if verdicts.texts is not None:
            changed = np.asarray(pc.is_valid(verdicts.texts)) & ~gone
            for row in np.flatnonzero(changed):
                edited[int(rows[row])] = verdicts.texts[int(row)].as_py()
            batch = replace(batch, text=pc.coalesce(verdicts.texts, batch.text))
            stale |= changed
        if gone.any():
            stay = np.flatnonzero(~gone)
            batch, rows, stale = batch.take(stay), rows[stay], stale[stay]
    result.texts = {row: text for row, text in edited.items() if row not in result.removed}
    result.spans = [(name, left) for name, spans in result.spans if (left := _without(spans, result.removed)).num_rows]
    return result


def judged_by(rule: Rule, batch: Batch, for_language: ForLanguage | None, flips: Counter) -> Verdicts:
    """A rule's verdicts, with the thresholds of each document's language."""
    variants = {language: for_language(rule, language) for language in set(batch.language)} if for_language else {}
    if all(variant is rule for variant in variants.values()):
        _count_flips(rule, batch, flips)
        return rule.judge(batch)
    members: dict[str, list[int]] = {}
    for row, language in enumerate(batch.language):
        members.setdefault(language if variants[language] is not rule else "", []).append(row)
    parts = []
    for language, numbers in members.items():
        variant, rows = variants.get(language, rule), np.asarray(numbers)
        part = batch.take(rows)
        _count_flips(variant, part, flips)
        parts.append((rows, variant.judge(part)))
    return _scattered(len(batch), parts)


def removal(rule: Rule, verdicts: Verdicts, row: int) -> Removal:
    """A verdict in words and numbers."""
    score = verdicts.score[row] if verdicts.score is not None else np.nan
    threshold = verdicts.threshold[row] if verdicts.threshold is not None else np.nan
    return Removal(
        rule.rule,
        verdicts.reasons[verdicts.reason[row]],
        None if np.isnan(score) else float(score),
        None if np.isnan(threshold) else float(threshold),
        verdicts.detail.get(row, ""),
    )


def measured_again(batch: Batch, rows: NDArray[np.int64], names: Sequence[str], measure: Measure) -> Batch:
    """The batch with some signals of some rows measured anew."""
    texts = batch.text.take(pa.array(rows))
    fresh = measure(texts, [batch.language[row] for row in rows], names)
    signals = dict(batch.signals)
    for name, values in fresh.items():
        signals[name] = signals[name].copy()
        signals[name][rows] = values
    return batch.with_texts(batch.text, signals)


def _count_flips(rule: Rule, batch: Batch, flips: Counter) -> None:
    if not isinstance(rule, ThresholdRule):
        return
    for test in rule.active():
        now = failing(test, batch.signals)
        up, down = failing(test, batch.signals, 1 + MOVED), failing(test, batch.signals, 1 - MOVED)
        flips[rule.rule, test.reason, "looser"] += int((now & ~(up & down)).sum())
        flips[rule.rule, test.reason, "stricter"] += int((~now & (up | down)).sum())


def _scattered(n: int, parts: list[tuple[NDArray[np.int64], Verdicts]]) -> Verdicts:
    """Verdicts on parts of a batch as verdicts on the batch."""
    whole = Verdicts.keep_all(n)
    whole.score, whole.threshold = np.full(n, np.nan), np.full(n, np.nan)
    reasons: list[str] = []
    texts: list[str | None] = [None] * n
    spans = []
    edits = False
    detail: dict[int, str] = {}
    for rows, part in parts:
        gone = part.reason != KEPT
        whole.reason[rows[gone]] = part.reason[gone] + len(reasons)
        reasons += part.reasons
        if part.score is not None:
            whole.score[rows] = part.score
        if part.threshold is not None:
            whole.threshold[rows] = part.threshold
        detail |= {int(rows[row]): words for row, words in part.detail.items()}
        if part.texts is not None:
            edits = True
            for row, text in zip(rows, part.texts.to_pylist(), strict=True):
                texts[row] = text
        if part.spans is not None and part.spans.num_rows:
            spans.append(_renumbered(part.spans, rows))
    whole.reasons, whole.detail = reasons, detail
    if edits:
        whole.texts = pa.array(texts, pa.large_string())
    if spans:
        whole.spans = pa.concat_tables(spans).sort_by([("row", "ascending"), ("begin", "ascending")])
    return whole


def _renumbered(spans: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    column = pa.array(rows[spans["row"].to_numpy()])
    return spans.set_column(0, SPAN_SCHEMA.field("row"), column)


def _without(spans: pa.Table, removed: Mapping[int, Removal]) -> pa.Table:
    if not removed:
        return spans
    stays = pa.array([row not in removed for row in spans["row"].to_pylist()], pa.bool_())
    return spans.filter(stays)


def account(batch: Batch, rules: Sequence[Rule], for_language: ForLanguage | None) -> Iterator[tuple[str, list[str]]]:
    """For one document: every rule with its tests in words, whatever the others said. Edits are not carried on."""
    for rule in rules:
        chosen = for_language(rule, batch.language[0]) if for_language is not None else rule
        lines = []
        if isinstance(chosen, ThresholdRule):
            for test in chosen.active():
                failed = bool(failing(test, batch.signals)[0])
                value = batch.signals[test.signal][0]
                mark = "FAILS" if failed else "ok"
                lines.append(
                    f"{mark:5} {test.reason}: {test.signal} {value:g}, goes if {test.fails} {test.threshold:g}"
                )
        else:
            verdicts = chosen.judge(batch)
            if verdicts.reason[0] != KEPT:
                why = removal(chosen, verdicts, 0)
                lines.append(f"FAILS {why.reason}" + (f": {why.score:g}" if why.score is not None else ""))
            cut = verdicts.spans.to_pylist() if verdicts.spans is not None else []
            lines += [f"edits {span['reason']}: {span['bytes']} bytes at {span['begin']}" for span in cut]
            lines = lines or ["ok"]
        yield chosen.rule, lines
