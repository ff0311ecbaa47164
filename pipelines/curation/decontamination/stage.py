"""Decontamination as a stage of a curation: every unit scanned, all brought together, a list for each unit.

It comes before duplicates are compared, so that a clean copy never goes for the sake of a contaminated one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines import storage
from pipelines.curation.decisions import survivors
from pipelines.curation.decontamination.index import Index, build_index, index_fingerprint
from pipelines.curation.decontamination.scan import Documents, scan_unit
from pipelines.curation.decontamination.settings import DecontaminationSettings
from pipelines.curation.decontamination.summary import EXAMPLES_FILE, REPORT_FILE, reduce
from pipelines.curation.decontamination.verdict import removals_of
from pipelines.curation.documents import REMOVALS_SCHEMA
from pipelines.curation.lists import Found, Listing
from pipelines.curation.over_units import Report, over_units
from pipelines.curation.planning import Unit
from pipelines.curation.tables import TableWriter
from pipelines.curation.workspace import Hashes, Workspace

VERSION = 1
"""Part of the hash of what is removed: raise it when other documents are."""

HERE = 50_000
"""Up to so many documents with hits are judged in this process."""


class Decontaminated(NamedTuple):
    """What the stage came to."""

    lists: Found
    """Folder below the work -> unit name -> location: of documents that go."""
    figures: dict[str, Any]
    """What contamination.json says."""
    seconds: dict[str, float]


def decontaminate(hashes: Hashes, place: Workspace, units: Sequence[Unit], report: Report) -> Decontaminated | None:
    """Find documents that hold examples of evaluations; None where the settings name no evaluation.

    Leaves contamination.json and contamination.parquet below the output.

    Raises:
        FileNotFoundError: an evaluation file is not there.
        ValueError: one of them is not what it should be.
    """
    settings = hashes.settings.decontamination
    if settings is None:
        place.forget("decontaminate")
        for name in (REPORT_FILE, EXAMPLES_FILE):
            storage.remove(storage.join(place.output, name))
        return None
    started = time.monotonic()
    compared = index_fingerprint(settings)
    location = storage.join(place.work, "contamination", f"index-{compared}.npz")
    scans = {unit.name: storage.fingerprint(["scan", hashes.decide(unit), compared]) for unit in units}
    key = storage.fingerprint(["decontaminate", VERSION, scans, settings.deciding()])
    todo = [unit for unit in units if place.done("decontaminate", unit.name, scans[unit.name]) is None]
    if todo:
        _build_index(place, location, settings)
        arguments = {"place": place, "location": location, "scans": scans}
        over_units("curate-contamination", _scan, arguments, todo, list(units), report)

    def make() -> dict[str, Any]:
        _build_index(place, location, settings)
        return {"figures": _bring_together(place, units, scans, Index.load(location), key, settings, report)}

    def tell(note: str) -> None:
        report(float(sum(unit.bytes for unit in units)), f"contamination: {note}")

    taken = {"removed-decontaminate": lambda manifest: int(manifest["figures"]["documents_dropped"])}
    done, lists = Listing(place, "decontaminate", key, units, taken).settle(make, tell)
    return Decontaminated(lists, done["figures"], {"contamination": time.monotonic() - started})


def _build_index(place: Workspace, location: str, settings: DecontaminationSettings) -> None:
    if not storage.exists(location):
        storage.remove(storage.join(place.work, "contamination"))
        build_index(settings).save(location)


def _bring_together(
    place: Workspace,
    units: Sequence[Unit],
    scans: dict[str, str],
    index: Index,
    key: str,
    settings: DecontaminationSettings,
    report: Report,
) -> dict[str, Any]:
    found: dict[str, int] = {}
    for unit in units:
        manifest = place.done("decontaminate", unit.name, scans[unit.name])
        if manifest is None:
            raise RuntimeError(f"{unit.name}: decontaminate left no manifest for these settings; run it again")
        found[unit.name] = manifest["hits"]
    hit = [unit for unit in units if found[unit.name]]
    summary = reduce([place.hits(unit) for unit in hit], index, settings)
    if sum(found.values()) <= HERE:
        for unit in hit:
            _remove(unit, place, index, key, settings, summary.ignored)
    else:
        location = storage.join(place.work, "contamination", f"index-{index_fingerprint(settings)}.npz")
        arguments = {"place": place, "location": location, "key": key, "settings": settings, "ignored": summary.ignored}
        over_units("curate-contaminated", _remove_row, arguments, hit, hit, report)
    summary.save(place.output)
    return summary.report()


def _scan(batch: pa.Table, place: Workspace, location: str, scans: dict[str, str]) -> pa.Table:
    """One unit a row: what its documents hold of the examples."""
    unit = Unit.from_json(batch["unit"][0].as_py())
    place.begin("decontaminate", unit.name)
    counters = scan_unit(_documents(place, unit), _index(location), place.hits(unit))
    place.commit("decontaminate", unit.name, scans[unit.name], counters)
    return pa.table({"unit": [unit.name], "bytes": [unit.bytes], "documents": [counters["documents"]]})


def _documents(place: Workspace, unit: Unit) -> Iterator[Documents]:
    yield from survivors(place.documents(unit), place.decisions(unit), np.zeros(0, np.int64))


def _remove_row(
    batch: pa.Table,
    place: Workspace,
    location: str,
    key: str,
    settings: DecontaminationSettings,
    ignored: np.ndarray,
) -> pa.Table:
    unit = Unit.from_json(batch["unit"][0].as_py())
    count = _remove(unit, place, _index(location), key, settings, ignored)
    return pa.table({"unit": [unit.name], "bytes": [unit.bytes], "documents": [count]})


def _remove(
    unit: Unit, place: Workspace, index: Index, key: str, settings: DecontaminationSettings, ignored: np.ndarray
) -> int:
    table = removals_of(place.hits(unit), index, ignored, settings)
    if table.num_rows:
        with TableWriter(place.removals("decontaminate", key, unit), REMOVALS_SCHEMA) as writer:
            writer.write(table.combine_chunks().to_batches()[0])
    return int(table.num_rows)


@lru_cache(maxsize=1)
def _index(location: str) -> Index:
    return Index.load(location)
