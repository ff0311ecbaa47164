"""A curation's files around texts that nothing curated, and what a comparison of them removes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.curation.decisions import survivors
from pipelines.curation.dedup import run
from pipelines.curation.dedup.comparison import Comparison
from pipelines.curation.dedup.exchange import Scale
from pipelines.curation.dedup.index import Index
from pipelines.curation.dedup.settings import DuplicateSettings
from pipelines.curation.dedup.signing import sign
from pipelines.curation.documents import EXTRACTED_SCHEMA
from pipelines.curation.planning import Unit
from pipelines.curation.stages import DECISIONS_SCHEMA
from pipelines.curation.tables import TableWriter, batches
from pipelines.curation.workspace import Workspace


class Row(NamedTuple):
    id: str
    text: str
    date: str | None = None
    quality: float | None = None


class Bench:
    """Documents in units, as curation leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = 0
        self.key: str | None = None

    def compare(
        self,
        units: Sequence[Sequence[Row]],
        scale: Scale | None = None,
        against: Sequence[str] = (),
        edges_a_task: int = 1000,
        output: Path | None = None,
        **settings: object,
    ) -> dict[str, tuple[str, str, str]]:
        """Id of what goes -> (stage, reason, id of what stays)."""
        self.runs += 1
        self.place = place = Workspace(str(output or self.folder / f"run-{self.runs}"))
        wanted = DuplicateSettings.model_validate({**settings, "against": list(against)})
        planned = [Unit(f"u-{number:03d}", 0, ()) for number in range(len(units))]
        counts = tuple(
            sign(written(place, unit, rows), wanted.near, place.keys(unit))
            for unit, rows in zip(planned, units, strict=True)
        )
        earlier = tuple(Index.open(one, wanted.near, wanted.exact) for one in wanted.against)
        comparison = Comparison(
            place,
            self.key or f"key{self.runs}",
            wanted,
            tuple(planned),
            counts,
            earlier,
            scale or Scale.of(sum(counts)),
        )
        self.figures = run.compare(comparison, edges_a_task=edges_a_task)
        gone = {}
        for unit, rows in zip(planned, units, strict=True):
            location = place.removals("dedup", comparison.key, unit)
            if Path(location).exists():
                for row in pa.Table.from_batches(batches(location)).to_pylist():
                    gone[rows[row["position"]].id] = (row["stage"], row["reason"], row["detail"])
        assert len(gone) == self.figures["removed"]
        return gone


def written(place: Workspace, unit: Unit, rows: Sequence[Row]) -> Iterator:
    """The documents of a unit as if rules kept them all; the survivors."""
    with TableWriter(place.documents(unit), EXTRACTED_SCHEMA) as documents:
        for position, row in enumerate(rows):
            documents.add((row.id, row.text, None, None, None, row.date, None, "f", position))
    with TableWriter(place.decisions(unit), DECISIONS_SCHEMA) as decisions:
        for position, row in enumerate(rows):
            decisions.add((position, row.id, None))
    with TableWriter(place.signals(unit), pa.schema([("quality", pa.float64())])) as signals:
        for row in rows:
            signals.add((np.nan if row.quality is None else row.quality,))
    return survivors(place.documents(unit), place.decisions(unit), np.zeros(0, np.int64))
