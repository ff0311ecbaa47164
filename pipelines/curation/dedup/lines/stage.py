"""Lines as a stage of a curation: segments of every unit, one comparison of all, lists for each unit.

What is decided of a segment stays so: where a document goes as a whole because most of it went, segments that it alone
still had go with it, and copies of them elsewhere do not come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from pipelines import storage
from pipelines.curation.decisions import survivors
from pipelines.curation.dedup.lines import passes
from pipelines.curation.dedup.lines.comparison import LineComparison, LineScale
from pipelines.curation.dedup.lines.stored import store
from pipelines.curation.dedup.stage import (
    Deduplicated,
    Lists,
    content,
    manifest_of,
    removed_positions,
)
from pipelines.curation.dedup.tasks import Passes
from pipelines.curation.lists import Listing
from pipelines.curation.over_units import Report, over_units
from pipelines.curation.planning import Unit
from pipelines.curation.workspace import Hashes, Workspace

VERSION = 1
"""Part of the hash of a comparison: raise it when other segments go."""
HERE = 2_000_000
"""Up to so many segments are compared in this process: below half a gigabyte, and sooner than Ray's tasks begin."""
TAKEN: dict[str, Callable[[dict[str, Any]], int]] = {
    "removed-lines": lambda figures: int(figures["removed"]),
    "cuts": lambda figures: int(figures["duplicates_cut"] + figures["boilerplate_cut"]),
}
"""See `Listing.taken`."""


def deduplicate_lines(
    hashes: Hashes, place: Workspace, units: Sequence[Unit], removed: Lists, report: Report
) -> Deduplicated | None:
    """Find segments that are there more than once, unless these very documents have been compared before.

    Leaves lists of removed documents in "removed-lines", and of what is cut out of others in "cuts". None where the
    settings ask for nothing.
    """
    settings = hashes.settings.dedup.lines
    if settings is None:
        return None
    started = time.monotonic()
    sources = hashes.settings.sources
    own = [unit for unit in units if settings.takes(sources[unit.source].name, sources[unit.source].kind)]
    wanted = {unit.name: hashes.segment(unit, content(removed[unit.name])) for unit in own}
    todo = [unit for unit in own if place.done("lines", unit.name, wanted[unit.name]) is None]
    arguments = {"hashes": hashes, "place": place, "wanted": wanted, "removed": removed}
    over_units("curate-segments", _segment, arguments, todo, own, report)
    seconds = {"segments": time.monotonic() - started}

    started = time.monotonic()
    key = storage.fingerprint(["lines", VERSION, settings.model_dump(mode="json"), wanted])
    named = tuple(sorted(own, key=lambda unit: unit.name))

    def tell(note: str) -> None:
        report(float(sum(unit.bytes for unit in own)), f"lines: {note}")

    def make() -> dict[str, Any]:
        counts = tuple(int(manifest_of(place, "lines", unit, wanted)["segments"]) for unit in named)
        ranks = len(hashes.settings.dedup.prefer) + 1
        return compare(LineComparison(place, key, settings, ranks, named, counts, LineScale.of(sum(counts))), tell)

    done, lists = Listing(place, "lines", key, named, TAKEN, ("lines",)).settle(make, tell)
    storage.remove(place.line_work(key))
    seconds["lines"] = time.monotonic() - started
    figures = {name: value for name, value in done.items() if name not in ("stage", "unit", "settings", "seconds")}
    return Deduplicated(lists, figures, seconds | {f"lines/{name}": value for name, value in done["seconds"].items()})


def compare(c: LineComparison, report: Callable[[str], None] = lambda note: None) -> dict[str, Any]:
    """Write the lists of each unit that has some; returns figures for the report.

    What an interrupted comparison of the same key finished is kept.

    Args:
        c: what is compared; the segments of its units are stored.
        report: is told of each pass.
    """
    groups, slices = list(range(len(c.groups))), list(range(c.slices))
    run = Passes("lines", sum(c.counts) <= HERE, report)
    run.each("spill", partial(passes.spill, c=c), groups, lambda g: c.file("spilled", g))
    run.each("bucket", partial(passes.bucket, c=c), slices, lambda s: c.file("bucketed", s))
    bucketed = [storage.read_json(c.file("bucketed", number)) for number in slices]
    most = sorted((one for part in bucketed for one in part["most"]), key=lambda one: (-one["documents"], one["key"]))
    shown = most[: passes.SHOWN]
    run.each("cut", partial(passes.cut, shown=shown, c=c), groups, lambda g: c.file("cut", g))
    spilled = [storage.read_json(c.file("spilled", number)) for number in groups]
    cut = [storage.read_json(c.file("cut", number)) for number in groups]
    texts = {one["key"]: one["text"] for part in cut for one in part.pop("shown")}
    sums = {
        name: sum(part[name] for part in parts)
        for parts in (spilled, [{n: v for n, v in part.items() if n != "most"} for part in bucketed], cut)
        for name in parts[0]
    }
    examples = [{"documents": one["documents"], "text": texts[one["key"]]} for one in shown]
    return {"by": c.settings.by, **sums, "most": examples, "seconds": run.seconds()}


def _segment(batch: pa.Table, hashes: Hashes, place: Workspace, wanted: dict[str, str], removed: Lists) -> pa.Table:
    """One unit a row: its segments."""
    unit, dedup = Unit.from_json(batch["unit"][0].as_py()), hashes.settings.dedup
    assert dedup.lines is not None
    place.begin("lines", unit.name)
    texts = survivors(place.documents(unit), place.decisions(unit), removed_positions(removed[unit.name]))
    documents, segments = store(texts, dedup.lines, dedup.prefer, place, unit)
    pa.default_memory_pool().release_unused()
    place.commit("lines", unit.name, wanted[unit.name], {"documents": documents, "segments": segments})
    return pa.table({"unit": [unit.name], "bytes": [unit.bytes], "documents": [documents]})
