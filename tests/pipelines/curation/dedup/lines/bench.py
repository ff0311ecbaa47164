"""A comparison of the lines of texts that nothing curated, and what is left of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.curation.dedup.lines import stage
from pipelines.curation.dedup.lines.comparison import LineComparison, LineScale
from pipelines.curation.dedup.lines.cutting import Cuts
from pipelines.curation.dedup.lines.stored import store
from pipelines.curation.dedup.settings import LineDuplicates, Preference
from pipelines.curation.planning import Unit
from pipelines.curation.tables import batches
from pipelines.curation.workspace import Workspace
from tests.pipelines.curation.dedup.bench import Row, written

LENIENT = {"min_words": 1, "min_words_left": 1, "max_lost": 1.0}


class Left(NamedTuple):
    texts: dict[str, str]
    """By id, of documents that stay."""
    removed: dict[str, tuple[str, float, float]]
    """By id: reason, score, threshold."""
    spans: list[tuple[str, str, int, str]]
    """Id, reason, begin, text."""


class LineBench:
    """Documents in units, as curation leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = 0

    def compare(
        self,
        units: Sequence[Sequence[Row]],
        scale: LineScale | None = None,
        prefer: Sequence[dict] = (),
        output: Path | None = None,
        **settings: object,
    ) -> Left:
        self.runs += 1
        place = Workspace(str(output or self.folder / f"run-{self.runs}"))
        wanted = LineDuplicates.model_validate({**LENIENT, **settings})
        preferences = tuple(Preference.model_validate(one) for one in prefer)
        planned = [Unit(f"u-{number:03d}", 0, ()) for number in range(len(units))]
        counts = tuple(
            store(written(place, unit, rows), wanted, preferences, place, unit)[1]
            for unit, rows in zip(planned, units, strict=True)
        )
        comparison = LineComparison(
            place, "key", wanted, len(prefer) + 1, tuple(planned), counts, scale or LineScale.of(sum(counts))
        )
        self.figures = stage.compare(comparison)
        found = Left({}, {}, [])
        for unit, rows in zip(planned, units, strict=True):
            self._leave(comparison, unit, rows, found)
        return found

    def _leave(self, c: LineComparison, unit: Unit, rows: Sequence[Row], found: Left) -> None:
        removals, cuts = c.place.removals("lines", c.key, unit), c.place.cuts(c.key, unit)
        gone = set()
        if Path(removals).exists():
            for row in pa.Table.from_batches(batches(removals)).to_pylist():
                assert row["stage"] == "line_dedup"
                found.removed[rows[row["position"]].id] = (row["reason"], row["score"], row["threshold"])
                gone.add(row["position"])
        ids, texts = (pa.array([row[column] for row in rows], kind) for column, kind in enumerate(KINDS))
        left, spans = Cuts([cuts] if Path(cuts).exists() else []).apply(ids, np.arange(len(rows)), texts)
        for position, text in enumerate(left.to_pylist()):
            if position not in gone:
                found.texts[rows[position].id] = text
        for row in spans.to_pylist():
            assert row["bytes"] >= len(row["text"].encode())
            found.spans.append((row["id"], row["reason"], row["begin"], row["text"]))


KINDS = (pa.string(), pa.large_string())
