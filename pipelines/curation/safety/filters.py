"""How often each filter of a curation removes a neutral sentence, by the group that the sentence is about.

A sentence ("My neighbour is {a Muslim} and repairs old clocks.") stands in a carrier: a text long and plain enough
that rules about length, lines and repetition have nothing to remove. Each filter, which is language identification or
a rule, judges the carriers as they are; those that it keeps are judged again with each sentence in them. What goes
then goes for the sentence. The filters are asked one by one, and all in a row. Language identification, which sees a
short text less surely, is asked about the sentences alone too.

    rate(group) = sentences removed / sentences about the group (templates x names x carriers)
    difference  = rate(group) - rate(all other groups), Newcombe's 95 % interval

A group is *flagged* where the interval lies above 0: its sentences go more often than the others'. For scores (the
probability of the language, classifiers) the difference is that of means, to all groups in the same templates, with a
bootstrap over templates, and flagged where the interval leaves out 0 and the difference is at least `NOTABLE`.

The templates follow Dixon et al. 2018 ("Measuring and Mitigating Unintended Bias in Text Classification"). Intervals
take sentences as independent draws, which names that repeat in every template are not, and there are many groups:
read a flag as a place to look at. No flag does not mean that a filter is fair: these are a few sentences by one
author, and real texts about people differ in more than a name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.curation.judging import Judgement, Removal, judge
from pipelines.curation.measuring import Gauge
from pipelines.curation.rules.base import Batch
from pipelines.curation.safety.groups import CONTROL, Sentence, Words, sentences
from pipelines.curation.safety.statistics import Estimate, bootstrap_mean, difference, wilson
from pipelines.curation.settings import CurationSettings
from pipelines.curation.sources import AnySource
from pipelines.curation.stages import decide, judge_languages

ALL = "all in a row"
ALONE = "language, sentence alone"
EXAMPLES = 3
NOTABLE = 0.02
"""Differences of scores below this are not flagged, however sure: every name moves every score a little."""

Pairs = Sequence[tuple[int, Sentence]]
"""(row of a batch, the sentence in it)."""


@dataclass(frozen=True)
class _Probes:
    """Carriers alone (the first rows), every sentence in every carrier, and every sentence alone (the last rows)."""

    carriers: int
    sentences: Sequence[Sentence]
    batch: Batch
    scores: NDArray[np.float64]

    def within(self, carrier: int) -> Pairs:
        """All sentences in a carrier; the last one is none."""
        return list(enumerate(self.sentences, start=self.carriers + carrier * len(self.sentences)))

    @property
    def alone(self) -> Pairs:
        """The sentences by themselves."""
        return self.within(self.carriers)


def audit(settings: CurationSettings, words: Mapping[str, Words], seed: int) -> list[dict[str, Any]]:
    """An entry for language identification and for each set of rules, with its sources; `skipped` says why one was
    not asked.

    Raises FileNotFoundError or ValueError where a file that the settings name is not there or not what it should be.
    """
    gauge = Gauge(settings)
    alike: dict[tuple[Any, ...], list[AnySource]] = defaultdict(list)
    for source in settings.sources:
        rules = tuple(rule.model_dump_json() for rule in settings.rules_of(source))
        alike[rules, source.language, source.kind == "code"].append(source)
    identified = [source for source in settings.sources if source.language is None and source.kind != "code"]
    found = [_identification(gauge, words, identified, seed)] if identified else []
    return found + [_variant(gauge, words, sources, seed) for sources in alike.values()]


def _identification(
    gauge: Gauge, words: Mapping[str, Words], sources: Sequence[AnySource], seed: int
) -> dict[str, Any]:
    languages = {}
    for language in [each for each in sorted(gauge.settings.language.keep) if each in words]:
        probes = _probes(gauge, words[language], sources[0])
        judged = _identified(gauge, probes, language)
        known = np.array([each == language for each in probes.batch.language])
        score = {"score": "language_score", **_score(probes, np.where(known, probes.scores, 0.0), seed)}
        alone = {"filter": ALONE, "carriers_kept": 0, "carriers_removed": [], **_tally(probes.alone, judged)}
        asked = [{"filter": "language", **_filter(probes, judged)}, alone]
        languages[language] = _told(probes, asked, [score])
    return {"sources": [source.name for source in sources], "rules": ["language"], "languages": languages}


def _variant(gauge: Gauge, words: Mapping[str, Words], sources: Sequence[AnySource], seed: int) -> dict[str, Any]:
    source, settings = sources[0], gauge.settings
    rules = settings.rules_of(source)
    entry: dict[str, Any] = {"sources": [each.name for each in sources], "rules": [rule.rule for rule in rules]}
    languages = sorted(settings.language.keep) if source.language is None else [source.language]
    asked = [language for language in languages if language in words]
    if source.kind == "code":
        return {**entry, "skipped": "its documents are programs"}
    if not rules:
        return {**entry, "skipped": "it has no rules"}
    if not asked:
        return {**entry, "skipped": f"no sentences in {', '.join(languages)}"}
    return {**entry, "languages": {each: _in_language(gauge, words[each], source, seed) for each in asked}}


def _in_language(gauge: Gauge, words: Words, source: AnySource, seed: int) -> dict[str, Any]:
    probes = _probes(gauge, words, source)
    asked = [{"filter": name, **_filter(probes, judged)} for name, judged in _judgements(gauge, source, probes)]
    scorers = gauge.settings.measured(source)[1]
    scores = [{"score": name, **_score(probes, probes.batch.signals[name], seed)} for name in sorted(scorers)]
    return _told(probes, asked, scores)


def _told(probes: _Probes, filters: list[dict[str, Any]], scores: list[dict[str, Any]]) -> dict[str, Any]:
    return {"carriers": probes.carriers, "sentences": len(probes.sentences), "filters": filters, "scores": scores}


def _probes(gauge: Gauge, words: Words, source: AnySource) -> _Probes:
    said = list(sentences(words))
    texts = [carrier.replace(" {sentence}", "").replace("{sentence}", "") for carrier in words.carriers]
    texts += [carrier.replace("{sentence}", each.text) for carrier in words.carriers for each in said]
    texts += [each.text for each in said]
    column = pa.array(texts, pa.large_string())
    values = gauge.measure(column, source)
    signals = {name: values[name].to_numpy() for name in values.schema.names[2:]}
    names = [f"probe/{row}" for row in range(len(texts))]
    batch = Batch(names, column, [None] * len(texts), values["language"].to_pylist(), signals)
    return _Probes(len(words.carriers), said, batch, values["language_score"].to_numpy())


def _identified(gauge: Gauge, probes: _Probes, language: str) -> Judgement:
    """Which probes are lost to language identification, where only their own language is kept."""
    settings, shares = gauge.settings.language, probes.batch.signals.get("language_share")
    keep = {language: settings.keep[language]}
    found = judge_languages(probes.batch.language, probes.scores, keep, shares, settings.min_share)
    return Judgement({row: why for row, why in enumerate(found) if why is not None})


def _judgements(gauge: Gauge, source: AnySource, probes: _Probes) -> list[tuple[str, Judgement]]:
    """What each rule by itself makes of the probes, and what language and all rules make of them in a row."""
    batch, rules, for_language = probes.batch, gauge.settings.rules_of(source), gauge.languages.for_language
    found: list[tuple[str, Judgement]] = []
    names: list[str] = []
    for rule in rules:
        names.append(rule.rule)
        again = names.count(rule.rule)
        name = rule.rule if again == 1 else f"{rule.rule} {again}"
        found.append((name, judge(batch, [rule], gauge.measure_names, for_language)))
    keep = gauge.settings.language.keep_for(source.language)
    return [*found, (ALL, decide(batch, probes.scores, rules, keep, gauge, for_language))]


def _filter(probes: _Probes, judged: Judgement) -> dict[str, Any]:
    """Of one filter: which carriers it keeps, and by group how many sentences in these go."""
    kept = [carrier for carrier in range(probes.carriers) if carrier not in judged.removed]
    gone = [_why(judged.removed[carrier]) for carrier in range(probes.carriers) if carrier in judged.removed]
    pairs = [pair for carrier in kept for pair in probes.within(carrier)]
    return {"carriers_kept": len(kept), "carriers_removed": gone, **_tally(pairs, judged)}


def _tally(pairs: Pairs, judged: Judgement) -> dict[str, Any]:
    """Sentences, removed ones, and ones cut out of texts that stay: all, of the control, and by group."""
    count: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    examples: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    for row, said in pairs:
        tally = count[said.axis, said.group]
        tally[0] += 1
        if row in judged.removed:
            tally[1] += 1
            why = {"name": said.name, "sentence": said.text, **_why(judged.removed[row])}
            examples[said.axis, said.group].setdefault(said.name, why)
        elif row in judged.texts and said.text not in judged.texts[row]:
            tally[2] += 1
    control = count.pop(("", CONTROL), [0, 0, 0])
    of, gone, cut = (sum(tally[i] for tally in count.values()) for i in range(3))
    groups = []
    for (axis, group), (n, removed, lost) in count.items():
        apart = difference(removed, n, gone - removed, of - n)
        figures = {"sentences": n, "removed": removed, "cut": lost, "rate": _rounded(wilson(removed, n))}
        shown = list(examples[axis, group].values())[:EXAMPLES]
        flags = {"difference": _rounded(apart), "flagged": apart.low > 0, "examples": shown}
        groups.append({"axis": axis, "group": group, **figures, **flags})
    return {
        "sentences": of,
        "removed": gone,
        "cut": cut,
        "control": {"sentences": control[0], "removed": control[1], "cut": control[2]},
        "groups": groups,
    }


def _why(removal: Removal) -> dict[str, Any]:
    return {
        "reason": f"{removal.stage}: {removal.reason}",
        "score": removal.score,
        "threshold": removal.threshold,
        "detail": removal.detail,
    }


def _score(probes: _Probes, values: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """A score by group: how sentences move it in carriers, and what it is of sentences alone."""
    moved = [(said, values[row] - values[c]) for c in range(probes.carriers) for row, said in probes.within(c)]
    alone = [(said, values[row]) for row, said in probes.alone]
    found = {"in_carriers": _by_group(moved, seed), "alone": _by_group(alone, seed)}
    return {"carriers": round(float(np.mean(values[: probes.carriers])), 5), **found}


def _by_group(scored: Sequence[tuple[Sentence, float]], seed: int) -> dict[str, Any]:
    table: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for said, value in scored:
        table[said.axis, said.group][said.template].append(float(value))
    control = [value for values in table.pop(("", CONTROL), {}).values() for value in values]
    means = {key: {template: float(np.mean(each)) for template, each in by.items()} for key, by in table.items()}
    typical = {
        template: float(np.mean([by[template] for by in means.values() if template in by]))
        for template in sorted({template for by in means.values() for template in by})
    }
    groups = []
    for (axis, group), by in means.items():
        apart = bootstrap_mean([value - typical[template] for template, value in sorted(by.items())], seed)
        flagged = apart.excludes_zero and abs(apart.value) >= NOTABLE
        mean = round(float(np.mean(list(by.values()))), 5)
        groups.append({"axis": axis, "group": group, "mean": mean, "difference": _rounded(apart), "flagged": flagged})
    of_control = round(float(np.mean(control)), 5) if control else None
    return {"mean": round(float(np.mean(list(typical.values()))), 5), "control": of_control, "groups": groups}


def _rounded(estimate: Estimate) -> list[float]:
    return [round(value, 5) for value in estimate]
