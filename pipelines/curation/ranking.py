"""Thresholds that are shares: the score of the last document that a rule's `keep_fraction` keeps of a source.

Only documents that reach the rule count, so the rules before it are gone through once more, first: `rank` leaves the
scores of a unit's documents that come so far, `resolve` finds the score that parts them, and puts the rule with this
`min_score` in the place of the one with the share. What decides then is as if the recipe had said so.
A second share among a source's rules waits for the first: each is a pass over the documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import storage
from pipelines.curation.judging import ForLanguage
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import Unit
from pipelines.curation.rules import Classifier, Rule
from pipelines.curation.rules.base import Batch, Verdicts
from pipelines.curation.settings import CurationSettings
from pipelines.curation.stages import decide, measured
from pipelines.curation.tables import TableWriter, batches
from pipelines.curation.workspace import Hashes, Workspace

RANKS_SCHEMA = pa.schema([("score", pa.float64())])
HELD = 1 << 22
"""So many scores are sorted at once; of more, those that cannot be the one looked for are left out first."""


def unresolved(settings: CurationSettings) -> dict[int, int]:
    """Number of a source -> number of the first of its rules that keeps a share."""
    found = {}
    for number, source in enumerate(settings.sources):
        share = first_share(settings.rules_of(source))
        if share is not None:
            found[number] = share
    return found


def first_share(rules: Sequence[Rule]) -> int | None:
    """Number of the first rule with a `keep_fraction`."""
    return next((i for i, rule in enumerate(rules) if isinstance(rule, Classifier) and rule.keep_fraction), None)


def most_shares(settings: CurationSettings) -> int:
    """How many passes `keep_fraction`s take."""
    rules = [settings.rules_of(source) for source in settings.sources]
    return max(sum(isinstance(rule, Classifier) and rule.keep_fraction is not None for rule in own) for own in rules)


class _Probe:
    """Stands where a rule with a share will: notes the scores that it would see, and keeps all documents."""

    rule = "probe"

    def __init__(self, instead_of: Classifier, for_language: ForLanguage) -> None:
        self._instead_of, self._for_language = instead_of, for_language
        self.scores = np.zeros(0)

    def needs(self) -> frozenset[str]:
        return frozenset([self._instead_of.column])

    def judge(self, batch: Batch) -> Verdicts:
        counted = [self._for_language(self._instead_of, name) is self._instead_of for name in batch.language]
        self.scores = batch.signals[self._instead_of.column][np.array(counted, bool)]
        return Verdicts.keep_all(len(batch))


def reaching(
    batch: Batch,
    scores: NDArray[np.float64],
    rules: Sequence[Rule],
    number: int,
    keep: dict[str, float] | None,
    gauge: Gauge,
) -> NDArray[np.float64]:
    """Scores of the documents that reach the rule of a number, which has a share.

    Args:
        batch: documents as extracted.
        scores: (n,) of their languages.
        rules: of their source; those before the number have no share.
        keep: the languages that are kept.
        gauge: measures edited texts again.
    """
    rule = rules[number]
    assert isinstance(rule, Classifier)
    for_language = gauge.languages.for_language
    probe = _Probe(rule, for_language)
    decide(batch, scores, [*rules[:number], probe], keep, gauge, for_language)
    return probe.scores


def rank(unit: Unit, number: int, hashes: Hashes, gauge: Gauge, place: Workspace) -> dict[str, Any]:
    """A stage on one unit: the scores of its documents that reach a rule. Extracts and measures what is not yet."""
    settings = hashes.settings
    source = settings.sources[unit.source]
    rules, keep = settings.rules_of(source), settings.language.keep_for(source.language)
    came = 0
    name = _name(unit, number)
    with TableWriter(place.ranks(unit, number), RANKS_SCHEMA) as ranks:
        for _, batch, languages in measured(unit, hashes, gauge, place):
            found = reaching(batch, languages, rules, number, keep, gauge)
            ranks.write(pa.record_batch([pa.array(found)], schema=RANKS_SCHEMA))
            came += len(batch)
        place.begin("rank", name)
    return place.commit("rank", name, hashes.rank(unit, number), {"in": came, "documents": ranks.rows})


def ranked(unit: Unit, number: int, hashes: Hashes, place: Workspace) -> dict[str, Any] | None:
    """The manifest of `rank` if it is done."""
    return place.done("rank", _name(unit, number), hashes.rank(unit, number))


def resolve(hashes: Hashes, place: Workspace, units: list[Unit]) -> tuple[Hashes, list[dict[str, Any]]]:
    """With all units ranked: the settings with the first share of each source resolved, and what was found."""
    settings = hashes.settings
    sources, found = list(settings.sources), []
    for which, number in unresolved(settings).items():
        source = sources[which]
        rules = list(settings.rules_of(source))
        rule = rules[number]
        assert isinstance(rule, Classifier)
        own = [unit for unit in units if unit.source == which]
        answer = _resolved(rule, source.name, number, own, hashes, place)
        rules[number] = rule.with_threshold(answer["threshold"])
        sources[which] = source.model_copy(update={"rules": rules})
        found.append(answer)
    return replace(hashes, settings=settings.model_copy(update={"sources": sources})), found


def _resolved(
    rule: Classifier, source: str, number: int, units: list[Unit], hashes: Hashes, place: Workspace
) -> dict[str, Any]:
    assert rule.keep_fraction is not None
    key = storage.fingerprint([rule.keep_fraction, {unit.name: hashes.rank(unit, number) for unit in units}])
    name = f"all-{source}-{number}"
    done = place.done("rank", name, key)
    if done is None:
        place.begin("rank", name)
        files = [place.ranks(unit, number) for unit in units]
        answer = share_of(rule, lambda: (batch["score"].to_numpy() for file in files for batch in batches(file)))
        done = place.commit("rank", name, key, {"source": source, "rule": rule.rule, **answer})
    return {key: value for key, value in done.items() if key not in ("stage", "unit", "settings")}


def on_sample(
    batch: Batch, scores: NDArray[np.float64], rules: Sequence[Rule], keep: dict[str, float] | None, gauge: Gauge
) -> tuple[list[Rule], list[str]]:
    """A sample's rules with their shares resolved among its own documents, and words that say so."""
    own, words = list(rules), []
    while (number := first_share(own)) is not None:
        rule = own[number]
        assert isinstance(rule, Classifier)
        found = reaching(batch, scores, own, number, keep, gauge)
        answer = share_of(rule, partial(list, [found]))
        own[number] = rule.with_threshold(answer["threshold"])
        words.append(in_words(answer))
    return own, words


def in_words(share: dict[str, Any]) -> str:
    """What `share_of` found."""
    return (
        f"{share['name']}: the best {100 * share['keep_fraction']:g} % of the {share['documents']:,} documents that "
        f"reach it score {share['threshold']:.6g} or more; {share['kept']:,} do"
    )


def share_of(rule: Classifier, scores: Callable[[], Iterable[NDArray[np.float64]]]) -> dict[str, Any]:
    """What a share comes to: `threshold`, of how many `documents`, how many are `kept` (more than asked: ties).

    Args:
        scores: gives all scores, in pieces, as often as it is called.
    """
    assert rule.keep_fraction is not None
    documents = sum(map(len, scores()))
    asked = math.ceil(Fraction(str(rule.keep_fraction)) * documents)
    threshold = largest(scores, asked) if documents else 0.0
    kept = sum(int((piece >= threshold).sum()) for piece in scores())
    return {
        "name": rule.name,
        "keep_fraction": rule.keep_fraction,
        "threshold": threshold,
        "documents": documents,
        "kept": kept,
    }


def largest(scores: Callable[[], Iterable[NDArray[np.float64]]], k: int) -> float:
    """The k-th largest of numbers that are not negative, k from 1; memory holds `HELD` of them at a time.

    The bits of such a number sort as it does: numbers that begin with the same 16, 32, 48 bits are counted and left
    out, all but those among which the answer is.
    """
    prefix, bits = 0, 0
    while True:
        total = sum(len(keys) for keys in _beginning(scores, prefix, bits))
        if total <= HELD or bits == 64:
            break
        counts = np.zeros(1 << 16, np.int64)
        for keys in _beginning(scores, prefix, bits):
            counts += np.bincount((keys >> np.uint64(48 - bits)) & np.uint64(0xFFFF), minlength=1 << 16)
        from_top = np.cumsum(counts[::-1])
        place = int(np.searchsorted(from_top, k))
        k -= int(from_top[place] - counts[::-1][place])
        prefix, bits = (prefix << 16) | (0xFFFF - place), bits + 16
    if bits == 64:
        return float(np.array([prefix], np.uint64).view(np.float64)[0])
    left = np.concatenate(list(_beginning(scores, prefix, bits)))
    return float(np.partition(left, total - k)[total - k : total - k + 1].view(np.float64)[0])


def _beginning(
    scores: Callable[[], Iterable[NDArray[np.float64]]], prefix: int, bits: int
) -> Iterator[NDArray[np.uint64]]:
    """The numbers, as their bits, that begin with some bits."""
    for piece in scores():
        # Adding 0 makes -0.0, whose bits would be the largest, 0.0.
        keys = (np.asarray(piece, np.float64) + 0.0).view(np.uint64)
        yield keys[keys >> np.uint64(64 - bits) == prefix] if bits else keys


def _name(unit: Unit, number: int) -> str:
    return f"{unit.name}-{number}"
