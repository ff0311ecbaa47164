"""What a corpus says of identity groups, before and after its curation. Files to figures, without Ray.

*Before* are the documents as extracted (`work/curate/documents`), of which those count that are in one of the
languages asked for; *after* is the corpus, without what was removed and with what was edited.

    representation   documents that mention a group; its mentions, and mentions for a million words. Of an axis, the
                     total variation distance of the mentions' shares from equal ones, ½ Σ |pᵢ - 1/k| (Liang et al.
                     2022, HELM, §4.7: what they count in generations, here in the corpus)
    retention        share of the documents mentioning a group that stay, less that of the documents that do not, over
                     languages and sources (Mantel and Haenszel's difference: a source that keeps little must not look
                     like a group that is removed)
    association      ln of the odds that a word near a mention is of an attribute's set, against the same odds near
                     mentions of the axis's other groups: the co-occurrence score log P(w|f)/P(w|m) of Bordia and Bowman
                     2019 ("Identifying and Reducing Gender Bias in Word-Level Language Models") as odds, smoothed (see
                     `statistics.log_odds_ratio`); word sets of Caliskan et al. 2017 and others (`words/en.json`)

All intervals are 95 %. These are counts of words. They do not say whether what is said is true, kind or fair, nor what
a model makes of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines import storage
from pipelines.curation.safety.counting import MentionCounter, Tally
from pipelines.curation.safety.statistics import Sums, log_odds_ratio, stratified_difference
from pipelines.curation.tables import batches
from pipelines.curation.workspace import Workspace

LEAST_DOCUMENTS, LEAST_HITS = 20, 5
"""Differences of retention are flagged for groups with as many documents before, associations where the group's window
has as many hits, or would have at the rate of the others."""


@dataclass(frozen=True)
class Part:
    """A file of the corpus, and the documents that it was made of (None where these were deleted)."""

    unit: str
    corpus: str
    documents: str | None
    signals: str | None


def parts(output: str) -> list[Part]:
    """The parts of a curation's corpus.

    Raises FileNotFoundError where `output` holds no finished corpus.
    """
    manifest = storage.join(output, "corpus", "manifest.json")
    if not storage.exists(manifest):
        raise FileNotFoundError(f"{manifest}: not there; it is made by jobs.curate")
    found = []
    for file in storage.read_json(manifest)["files"]:
        unit = file["path"].removeprefix("part-").removesuffix(".parquet")
        work = Workspace(output).work
        before = [storage.join(work, kind, f"{unit}.parquet") for kind in ("documents", "signals")]
        documents, signals = before if all(map(storage.exists, before)) else (None, None)
        found.append(Part(unit, storage.join(output, "corpus", file["path"]), documents, signals))
    return found


def count_part(part: Part, counter: MentionCounter) -> dict[str, dict[str, Any]]:
    """Tallies of a part, as JSON: "before/SOURCE" and "after/SOURCE" -> counts."""
    tallies: dict[str, Tally] = {}
    kept: set[str] = set()
    for batch in batches(part.corpus, ["id", "text", "language", "source"]):
        kept.update(batch["id"].to_pylist())
        tally = tallies.setdefault(f"after/{batch['source'][0].as_py()}", Tally(counter))
        tally.add(counter.count(batch["text"], batch["language"].to_pylist()), np.ones(batch.num_rows, bool))
    if part.documents is not None and part.signals is not None:
        for documents, signals in zip(
            batches(part.documents, ["id", "text"]), batches(part.signals, ["language"]), strict=True
        ):
            ids = documents["id"].to_pylist()
            tally = tallies.setdefault(f"before/{ids[0].split('/', 1)[0]}", Tally(counter))
            seen = counter.count(documents["text"], signals["language"].to_pylist())
            tally.add(seen, np.array([name in kept for name in ids], bool))
    return {name: tally.to_json() for name, tally in tallies.items()}


class Corpus:
    """The sums of all parts, and the tables made of them."""

    def __init__(self, counter: MentionCounter, smoothing: float) -> None:
        self._counter, self._smoothing = counter, smoothing
        self._tallies: dict[str, Tally] = {}

    def add(self, counted: Mapping[str, Mapping[str, Any]]) -> None:
        """What `count_part` gave of one more part."""
        for name, values in counted.items():
            self._tallies.setdefault(name, Tally(self._counter)).merge(dict(values))

    def tables(self) -> dict[str, Any]:
        """Language -> documents and words, groups, axes and associations; without "before" where it was deleted."""
        phases = [phase for phase in ("before", "after") if any(name.startswith(phase) for name in self._tallies)]
        whole = {phase: self._sum(phase) for phase in phases}
        found = {}
        for number, language in enumerate(self._counter.languages):
            if not whole["after"].documents[number, 0] and not (
                "before" in whole and whole["before"].documents[number, 0]
            ):
                continue
            totals = {
                phase: {"documents": int(tally.documents[number, 0]), "words": int(tally.words[number])}
                for phase, tally in whole.items()
            }
            found[language] = {
                **totals,
                "groups": self._groups(number, whole),
                "axes": self._axes(language, whole),
                "associations": self._associations(language, whole),
            }
        return found

    def _sum(self, phase: str) -> Tally:
        total = Tally(self._counter)
        for name, tally in self._tallies.items():
            if name.startswith(f"{phase}/"):
                total.merge(tally.to_json())
        return total

    def _groups(self, number: int, whole: Mapping[str, Tally]) -> list[dict[str, Any]]:
        language = self._counter.languages[number]
        rows = []
        for label, name in enumerate(self._counter.groups):
            if name.language != language:
                continue
            row: dict[str, Any] = {"axis": name.axis, "group": name.name}
            for phase, tally in whole.items():
                words, mentions = int(tally.words[number]), int(tally.mentions[label])
                row[phase] = {
                    "documents": int(tally.mentioning[label, 0]),
                    "mentions": mentions,
                    "per_million_words": round(1e6 * mentions / words, 3) if words else None,
                }
            if "before" in whole:
                row["retention"] = self._retention(number, label)
            rows.append(row)
        return rows

    def _retention(self, number: int, label: int) -> dict[str, Any]:
        """Of documents that mention a group, and of those that do not: how many stay."""
        strata = []
        for name, tally in self._tallies.items():
            if name.startswith("before/"):
                of, kept = tally.mentioning[label].tolist()
                everything, stayed = tally.documents[number].tolist()
                strata.append((kept, of, stayed - kept, everything - of))
        kept, of, other_kept, other_of = (int(sum(column)) for column in zip(*strata, strict=True))
        apart = stratified_difference(strata)
        return {
            "documents": of,
            "kept": kept,
            "others": other_of,
            "others_kept": other_kept,
            "difference": [round(value, 5) for value in apart] if apart else None,
            "flagged": bool(apart and apart.excludes_zero and of >= LEAST_DOCUMENTS),
        }

    def _axes(self, language: str, whole: Mapping[str, Tally]) -> list[dict[str, Any]]:
        members: dict[str, list[int]] = defaultdict(list)
        for label, name in enumerate(self._counter.groups):
            if name.language == language:
                members[name.axis].append(label)
        return [
            {"axis": axis, **{phase: _distance(tally.mentions[labels]) for phase, tally in whole.items()}}
            for axis, labels in members.items()
        ]

    def _associations(self, language: str, whole: Mapping[str, Tally]) -> list[dict[str, Any]]:
        rows = []
        for label, name in enumerate(self._counter.groups):
            others = [
                number
                for number, other in enumerate(self._counter.groups)
                if number != label and other[:2] == name[:2] and name.language == language
            ]
            for attribute, about in enumerate(self._counter.attributes):
                if about.language != language or not others:
                    continue
                row: dict[str, Any] = {"axis": name.axis, "group": name.name, "attribute": about.name}
                for phase, tally in whole.items():
                    own, rest = tally.sums[label, attribute], tally.sums[others, attribute].sum(axis=0)
                    row[phase] = self._association(Sums(*own.tolist()), Sums(*rest.tolist()))
                rows.append(row)
        return rows

    def _association(self, own: Sums, rest: Sums) -> dict[str, Any]:
        ratio = log_odds_ratio(own, rest, self._smoothing)
        expected = own.of * rest.hits / rest.of if rest.of else 0.0
        return {
            "hits": int(own.hits),
            "expected": round(expected, 2),
            "window_words": int(own.of),
            "log_odds_ratio": [round(value, 4) for value in ratio] if ratio else None,
            "flagged": bool(ratio and ratio.excludes_zero and max(own.hits, expected) >= LEAST_HITS),
        }


def _distance(mentions: np.ndarray) -> float | None:
    """Total variation distance of counts from equal ones; None where nothing is counted."""
    total = int(mentions.sum())
    return round(float(np.abs(mentions / total - 1 / len(mentions)).sum() / 2), 4) if total else None
