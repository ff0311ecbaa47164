"""Reading what the rules decided about a unit beside its documents."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.curation.tables import batches, groups_with


class Decided:
    """The rows that the rules keep, ascending, with edited texts, taken piece by piece."""

    def __init__(self, location: str) -> None:
        self._batches = batches(location, ["position", "text"])
        self._positions = np.zeros(0, np.int64)
        self._texts = pa.array([], pa.large_string())

    def until(self, end: int) -> tuple[NDArray[np.int64], pa.Array]:
        """Positions below `end` that were not taken yet, and their texts (null: as extracted)."""
        while not len(self._positions) or self._positions[-1] < end:
            batch = next(self._batches, None)
            if batch is None:
                break
            self._positions = np.concatenate([self._positions, batch["position"].to_numpy()])
            self._texts = pa.concat_arrays([self._texts, batch["text"]])
        cut = int(np.searchsorted(self._positions, end))
        taken = self._positions[:cut], self._texts[:cut]
        self._positions, self._texts = self._positions[cut:], self._texts[cut:]
        return taken


def survivors(
    documents: str, decisions: str, removed: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], pa.StringArray, pa.LargeStringArray]]:
    """Positions, ids and texts of the documents of a unit that are left, in batches.

    Args:
        documents: location of the documents as extracted.
        decisions: location of the rules' decisions on them.
        removed: positions of those that a later stage removed.
    """
    position = 0
    decided = Decided(decisions)
    for batch in batches(documents, ["id", "text"]):
        positions, edits = decided.until(position + batch.num_rows)
        rows = pa.array(positions - position)
        ids, texts = batch["id"].take(rows), pc.coalesce(edits, batch["text"].take(rows))
        stays = ~np.isin(positions, removed)
        if not stays.all():
            positions, ids, texts = positions[stays], ids.filter(pa.array(stays)), texts.filter(pa.array(stays))
        position += batch.num_rows
        if len(positions):
            # A copy: a kernel wants texts that lie close together.
            yield positions, ids, pa.concat_arrays([texts])


def texts_at(documents: str, decisions: str, positions: list[int]) -> dict[int, str]:
    """Texts of some documents of a unit, as the rules left them, by their positions."""
    found: dict[int, str] = {}
    for base, batch in groups_with(documents, ["text"], positions):
        for position in positions:
            if base <= position < base + batch.num_rows:
                found[position] = batch["text"][position - base].as_py()
    wanted = pa.array(positions, pa.int64())
    for batch in batches(decisions, ["position", "text"]):
        edited = batch.filter(pc.and_(pc.is_in(batch["position"], wanted), batch["text"].is_valid()))
        found |= zip(edited["position"].to_pylist(), edited["text"].to_pylist(), strict=True)
    return found
