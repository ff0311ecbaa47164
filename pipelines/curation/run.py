"""Curation on Ray: units that are not done yet go through extraction and rules, then keys, then the outputs."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa

from pipelines import storage
from pipelines.curation import counts, publishing, ranking, stages
from pipelines.curation.counts import Counted
from pipelines.curation.decontamination.stage import decontaminate
from pipelines.curation.dedup.lines.stage import deduplicate_lines
from pipelines.curation.dedup.stage import deduplicate
from pipelines.curation.funnel import check, check_taken, corpus_manifest, funnel
from pipelines.curation.measuring import Gauge
from pipelines.curation.over_units import Report, over_units
from pipelines.curation.planning import Unit, plan
from pipelines.curation.settings import CurationSettings
from pipelines.curation.workspace import Hashes, Workspace


def curate(
    settings: CurationSettings,
    output: str,
    report: Report = lambda done, note: None,
    counted: Counted = lambda counts: None,
) -> dict[str, Any]:
    """Make `<output>/corpus` and `<output>/rejects`, doing only what is not done yet.

    Needs an initialised Ray. Returns `{"funnel": …, "manifest": …, "seconds": {pass: seconds}, "units": …,
    "contamination": …}`. What rules with a `keep_fraction` came to stands in the funnel, as `shares`, and what the
    comparison of all documents found, as `duplicates`, and that of their lines, as `lines`.

    Args:
        settings: sources, and what is kept of them.
        output: path or URI.
        report: see `Report`.
        counted: see `Counted`.

    Raises:
        FileNotFoundError: a source or the language model is not there.
        ConservationError: the account does not add up.
    """
    place = Workspace(output)
    units = plan(settings)
    hashes = Hashes.of(settings)
    storage.write_json(place.settings, settings.model_dump(mode="json"))
    seconds: dict[str, float] = {}

    started = time.monotonic()
    hashes, shares, deciding = _resolve_shares(hashes, place, units, report)
    settings = hashes.settings
    seconds["shares"] = time.monotonic() - started

    started = time.monotonic()
    todo = [unit for unit in units if place.done("decide", unit.name, hashes.decide(unit)) is None]
    process_units(hashes, place, todo, units, deciding, counted)
    seconds["units"] = time.monotonic() - started

    lists: dict[str, list[str]] = {unit.name: [] for unit in units}
    clean = decontaminate(hashes, place, units, report)
    if clean is not None:
        seconds |= clean.seconds
        _add(lists, clean.lists["removed-decontaminate"])

    found = deduplicate(hashes, place, units, lists, report)
    if found is not None:
        seconds |= found.seconds
        _add(lists, found.lists["removed-dedup"])

    cuts: dict[str, list[str]] = {unit.name: [] for unit in units}
    lines = deduplicate_lines(hashes, place, units, lists, report)
    if lines is not None:
        seconds |= lines.seconds
        _add(lists, lines.lists["removed-lines"])
        _add(cuts, lines.lists["cuts"])

    started = time.monotonic()
    wanted = {
        unit.name: hashes.publish(unit, [storage.file_fingerprint(one) for one in lists[unit.name] + cuts[unit.name]])
        for unit in units
    }
    unpublished = [unit for unit in units if place.done("publish", unit.name, wanted[unit.name]) is None]
    over_units(
        "curate-publish",
        _publish,
        {"settings": settings, "place": place, "wanted": wanted, "lists": lists, "cuts": cuts},
        unpublished,
        unpublished,
        lambda done, note: None,
    )
    seconds["publish"] = time.monotonic() - started

    manifests = {
        unit.name: (
            _manifest(place, "extract", unit, hashes.extract(unit)),
            _manifest(place, "decide", unit, hashes.decide(unit)),
            _manifest(place, "publish", unit, wanted[unit.name]),
        )
        for unit in units
    }
    _remove_others(place, units)
    check(place, units, manifests)
    account = funnel(settings, units, manifests) | {"shares": shares}
    counted(counts.of_funnel(account))
    account["duplicates"] = found.figures if found is not None else None
    account["lines"] = lines.figures if lines is not None else None
    check_taken(account, clean.figures if clean is not None else None)
    manifest = corpus_manifest(settings, units, manifests, place)
    storage.write_json(storage.join(output, "corpus", "manifest.json"), manifest)
    done = {"processed": len(todo), "published": len(unpublished), "all": len(units)}
    result = {"funnel": account, "manifest": manifest, "seconds": seconds, "units": done}
    return result | {"contamination": clean.figures if clean is not None else None}


def process_units(
    hashes: Hashes,
    place: Workspace,
    todo: list[Unit],
    units: list[Unit],
    report: Report,
    counted: Counted = lambda counts: None,
) -> None:
    """Extract, measure and decide the units that are not done, of all there are."""
    over_units("curate-units", _Processor, {"hashes": hashes, "place": place}, todo, units, report, counted)


def _resolve_shares(
    hashes: Hashes, place: Workspace, units: list[Unit], report: Report
) -> tuple[Hashes, list[dict[str, Any]], Report]:
    """Find the thresholds of rules with a `keep_fraction`: a pass over their sources' units for each, none where there
    is no such rule. Returns the settings with them, what they are, and who is told of the pass that is left.
    """
    total, passes = sum(unit.bytes for unit in units), ranking.most_shares(hashes.settings)
    found: list[dict[str, Any]] = []
    for turn in range(passes):
        numbers = ranking.unresolved(hashes.settings)
        own = [unit for unit in units if unit.source in numbers]
        todo = [unit for unit in own if ranking.ranked(unit, numbers[unit.source], hashes, place) is None]
        there = total - sum(unit.bytes for unit in own)

        def told(done: float, note: str, before: float = turn * total + there) -> None:
            report((before + done) / (passes + 1), f"{note}, finding what share that is")

        over_units("curate-ranks", _Ranker, {"hashes": hashes, "place": place, "numbers": numbers}, todo, own, told)
        hashes, resolved = ranking.resolve(hashes, place, units)
        found += resolved
    if found:
        storage.write_json(place.settings, hashes.settings.model_dump(mode="json"))
    return hashes, found, lambda done, note: report((passes * total + done) / (passes + 1), note)


class _Ranker:
    """One unit a row: the scores of its documents that reach the rule with a share."""

    def __init__(self, hashes: Hashes, place: Workspace, numbers: dict[int, int]) -> None:
        self._hashes, self._place, self._numbers = hashes, place, numbers
        self._gauge = Gauge(hashes.settings)

    def __call__(self, batch: pa.Table) -> pa.Table:
        unit = Unit.from_json(batch["unit"][0].as_py())
        manifest = ranking.rank(unit, self._numbers[unit.source], self._hashes, self._gauge, self._place)
        return pa.table({"unit": [unit.name], "bytes": [unit.bytes], "documents": [manifest["in"]]})


class _Processor:
    """One unit a row: extraction, signals and decisions, as far as they are not done."""

    def __init__(self, hashes: Hashes, place: Workspace) -> None:
        self._hashes, self._place = hashes, place
        self._gauge = Gauge(hashes.settings)

    def __call__(self, batch: pa.Table) -> pa.Table:
        unit = Unit.from_json(batch["unit"][0].as_py())
        decided = stages.process(unit, self._hashes, self._gauge, self._place)
        extracted = _manifest(self._place, "extract", unit, self._hashes.extract(unit))
        found = counts.of_unit(self._place, unit, extracted, decided)
        told = {"unit": [unit.name], "bytes": [unit.bytes], "documents": [extracted["in"]]}
        return pa.table({**told, "counts": [counts.written(found)]})


def _publish(
    batch: pa.Table,
    settings: CurationSettings,
    place: Workspace,
    wanted: dict[str, str],
    lists: dict[str, list[str]],
    cuts: dict[str, list[str]],
) -> pa.Table:
    """One unit a row: its corpus and rejects."""
    unit = Unit.from_json(batch["unit"][0].as_py())
    manifest = publishing.publish(unit, settings, place, lists[unit.name], wanted[unit.name], cuts[unit.name])
    return pa.table({"unit": [unit.name], "bytes": [unit.bytes], "documents": [manifest["documents"]]})


def _add(lists: dict[str, list[str]], found: dict[str, str]) -> None:
    """The lists that a stage over the whole corpus left, to those before."""
    for unit, location in found.items():
        lists[unit].append(location)


def _manifest(place: Workspace, stage: str, unit: Unit, wanted: str) -> dict[str, Any]:
    manifest = place.done(stage, unit.name, wanted)
    if manifest is None:
        raise RuntimeError(
            f"{unit.name}: {stage} left no manifest for these settings; did the program, or a file that the recipe "
            "names, change during the run? Run it again"
        )
    return manifest


def _remove_others(place: Workspace, units: list[Unit]) -> None:
    """Parts of units that are no longer planned, and what killed attempts left."""
    place.remove_unfinished()
    for folder, parts in (("corpus", place.corpus), ("rejects", place.rejects), ("spans", place.spans)):
        planned = {parts(unit) for unit in units}
        for location in storage.expand(storage.join(place.output, folder)):
            if location.endswith(".parquet") and location not in planned:
                storage.remove(location)
