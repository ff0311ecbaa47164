"""Deduplication as a stage of a curation: signatures of every unit, one comparison of all, a list for each unit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines import storage
from pipelines.curation.decisions import survivors
from pipelines.curation.dedup import run
from pipelines.curation.dedup.comparison import Comparison
from pipelines.curation.dedup.exchange import Scale
from pipelines.curation.dedup.index import Index
from pipelines.curation.dedup.settings import DuplicateSettings
from pipelines.curation.dedup.signing import sign
from pipelines.curation.lists import Found, Listing
from pipelines.curation.over_units import Report, over_units
from pipelines.curation.planning import Unit
from pipelines.curation.tables import batches
from pipelines.curation.workspace import Hashes, Workspace

VERSION = 2
"""Part of the hash of a comparison: raise it when other documents become duplicates."""

Lists = Mapping[str, Sequence[str]]
"""Unit name -> locations of lists of documents that stages before removed."""


class Deduplicated(NamedTuple):
    """What the stage came to."""

    lists: Found
    """Folder below the work -> unit name -> location: of documents that go, and for lines of what is cut out."""
    figures: dict[str, Any]
    """For the report."""
    seconds: dict[str, float]


def deduplicate(
    hashes: Hashes, place: Workspace, units: Sequence[Unit], removed: Lists, report: Report
) -> Deduplicated | None:
    """Find duplicates unless these very documents have been compared before. None where the settings ask for nothing.

    Raises:
        FileNotFoundError: there is no index of a corpus to compare against.
        ValueError: there is one that cannot be compared.
    """
    settings = hashes.settings.dedup
    if not settings.keep_index or (not settings.exact and settings.near is None):
        # An index of another corpus than the one that is here must not be compared against.
        storage.remove(storage.join(place.output, "duplicates"))
    if not settings.exact and settings.near is None:
        place.forget("dedup")
        return None
    earlier = earlier_corpora(settings, place.output)
    started = time.monotonic()
    signs = {unit.name: hashes.sign(unit, content(removed[unit.name])) for unit in units}
    todo = [unit for unit in units if place.done("sign", unit.name, signs[unit.name]) is None]
    arguments = {"hashes": hashes, "place": place, "signs": signs, "removed": removed}
    over_units("curate-signatures", _sign, arguments, todo, list(units), report)
    seconds = {"signatures": time.monotonic() - started}

    started = time.monotonic()
    named = sorted(units, key=lambda unit: unit.name)
    against = [[index.location, index.values["directory"]] for index in earlier]
    compared = settings.model_dump(mode="json", exclude={"lines"})
    key = storage.fingerprint(["dedup", VERSION, compared, signs, against])

    def tell(note: str) -> None:
        report(float(sum(unit.bytes for unit in units)), f"duplicates: {note}")

    def compare() -> dict[str, Any]:
        counts = tuple(int(manifest_of(place, "sign", unit, signs)["documents"]) for unit in named)
        return run.compare(Comparison(place, key, settings, tuple(named), counts, earlier, Scale.of(sum(counts))), tell)

    taken = {"removed-dedup": lambda figures: int(figures["removed"])}
    done, lists = Listing(place, "dedup", key, named, taken, ("duplicates",)).settle(compare, tell)
    storage.remove(place.duplicates(key))
    seconds["dedup"] = time.monotonic() - started
    figures = {name: value for name, value in done.items() if name not in ("stage", "unit", "settings", "seconds")}
    seconds |= {f"dedup/{name}": value for name, value in done["seconds"].items()}
    return Deduplicated(lists, figures, seconds)


def earlier_corpora(settings: DuplicateSettings, output: str) -> tuple[Index, ...]:
    """The indexes of the corpora that settings compare a curation's output against.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one cannot be compared, or is this curation's own.
    """
    if output.rstrip("/") in {other.rstrip("/") for other in settings.against}:
        raise ValueError(f"dedup.against: {output} is this curation's own output; all of its documents would go")
    return tuple(Index.open(other, settings.near, settings.exact) for other in settings.against)


def removed_positions(locations: Sequence[str]) -> np.ndarray:
    """Positions in lists of removed documents, int64."""
    parts = [batch["position"].to_numpy() for location in locations for batch in batches(location, ["position"])]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def content(locations: Sequence[str]) -> str | None:
    """The fingerprint of lists of removed documents, None where there are none."""
    return storage.fingerprint([storage.file_fingerprint(location) for location in locations]) if locations else None


def manifest_of(place: Workspace, stage: str, unit: Unit, wanted: Mapping[str, str]) -> dict[str, Any]:
    """What a unit's manifest of a stage says. Raises RuntimeError where it is not of the wanted hash."""
    manifest = place.done(stage, unit.name, wanted[unit.name])
    if manifest is None:
        raise RuntimeError(f"{unit.name}: {stage} left no manifest for these settings; run it again")
    return manifest


def _sign(batch: pa.Table, hashes: Hashes, place: Workspace, signs: dict[str, str], removed: Lists) -> pa.Table:
    """One unit a row: what its documents are compared by."""
    unit = Unit.from_json(batch["unit"][0].as_py())
    place.begin("sign", unit.name)
    texts = survivors(place.documents(unit), place.decisions(unit), removed_positions(removed[unit.name]))
    count = sign(texts, hashes.settings.dedup.near, place.keys(unit))
    pa.default_memory_pool().release_unused()
    place.commit("sign", unit.name, signs[unit.name], {"documents": count})
    return pa.table({"unit": [unit.name], "bytes": [unit.bytes], "documents": [count]})
