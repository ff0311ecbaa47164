"""How many documents and bytes a run came to, by stage and reason, while it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from pipelines.curation.documents import REJECT_SCHEMA
from pipelines.curation.planning import Unit
from pipelines.curation.tables import batches
from pipelines.curation.workspace import Workspace

READ, KEPT = "sources/read", "corpus/kept"
Counts = dict[str, tuple[int, int]]
"""`stage/reason` -> documents and bytes: what was read (`sources/read`), what stays (`corpus/kept`), and what was
removed, by the funnel's names."""
Counted = Callable[[Counts], None]
"""Told the counts so far: of the units that are decided, then of all of them, as in the funnel."""
_COLUMNS = ["stage", "reason", "bytes"]
_SCHEMA = pa.schema([REJECT_SCHEMA.field(name) for name in _COLUMNS])


def of_unit(place: Workspace, unit: Unit, extracted: Mapping[str, Any], decided: Mapping[str, Any]) -> Counts:
    """The counts of a unit that the rules have decided; what is kept may be removed later, so its bytes are not told.

    Args:
        place: of the run.
        unit: which one.
        extracted: its manifest of extraction.
        decided: its manifest of decisions.
    """
    found: Counts = {READ: (extracted["in"], extracted["bytes_in"]), KEPT: (decided["documents"], 0)}
    for stage in ("extract", "decide"):
        rejects = pa.Table.from_batches(batches(place.stage_rejects(stage, unit), _COLUMNS), _SCHEMA)
        sums = rejects.group_by(["stage", "reason"]).aggregate([("bytes", "sum"), ([], "count_all")])
        for row in sums.to_pylist():
            add(found, {f"{row['stage']}/{row['reason']}": (row["count_all"], row["bytes_sum"] or 0)})
    return found


def of_funnel(account: Mapping[str, Any]) -> Counts:
    """The counts of a whole run."""
    found: Counts = {
        READ: (account["documents_in"], account["bytes_in"]),
        KEPT: (account["kept"], account["bytes_kept"]),
    }
    return found | {f"{one['stage']}/{one['reason']}": (one["documents"], one["bytes"]) for one in account["stages"]}


def add(counts: Counts, more: Mapping[str, tuple[int, int]]) -> None:
    """Add to what is counted."""
    for name, (documents, size) in more.items():
        before = counts.get(name, (0, 0))
        counts[name] = (before[0] + documents, before[1] + size)


def written(counts: Counts) -> str:
    """For a row of a table."""
    return json.dumps(counts)


def parsed(text: str) -> Counts:
    """Of `written`."""
    return {name: (documents, size) for name, (documents, size) in json.loads(text).items()}
