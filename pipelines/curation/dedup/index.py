"""What a corpus leaves so that a later one can be compared against it without reading it again.

`<output>/duplicates/index.json` names the directory beside it: `keys/exact-N`, `keys/near-N` hold the keys of all its
documents by ranges, sorted, each key once with one of the documents that have it; `ids/N` the ids of a group of units.
Documents that were removed as duplicates are in it too: whoever is near to one of them is near to the copy that stayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import storage
from pipelines.curation import keys, words
from pipelines.curation.dedup import exchange, minhash
from pipelines.curation.dedup.buckets import KEY
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.settings import NearDuplicates

VERSION = 1

IDS_SCHEMA = pa.schema([("position", pa.uint32()), ("id", pa.string())])


@dataclass(frozen=True)
class Index:
    """The index of a corpus.

    Attributes:
        location: the directory of its files.
        values: what `index.json` says.
    """

    location: str
    values: dict[str, Any]

    @staticmethod
    def open(output: str, near: NearDuplicates | None, exact: bool) -> Index:
        """The index of the corpus below an output.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it was made with other settings or by another version.
        """
        place = storage.join(output, "duplicates", "index.json")
        if not storage.exists(place):
            raise FileNotFoundError(f"{place}: no index; expected a finished curation whose dedup.keep_index was on")
        values = storage.read_json(place)
        for name, wanted in describe(near, exact).items():
            if wanted is not None and values.get(name) != wanted:
                raise ValueError(
                    f"{place}: its {name} is {values.get(name)}, this recipe's {wanted}: keys can be compared only "
                    "where both are the same; curate that corpus again or change dedup"
                )
        return Index(storage.join(output, "duplicates", values["directory"]), values)

    def rows(self, kind: str, number: int, slices: int, wanted: NDArray[np.uint64], width: int) -> Rows:
        """Rows whose keys are among the wanted ones, of the range `number` of `slices`; one file is held at a time."""
        found = [np.zeros((0, width), np.uint64)]
        others = int(self.values["slices"][kind])
        ordered = np.unique(wanted)
        for part in exchange.overlapping(number, slices, others):
            rows = exchange.read_rows([self.keys(kind, part)], 0, width)
            if len(ordered) and len(rows):
                at = np.minimum(np.searchsorted(ordered, rows[:, KEY]), len(ordered) - 1)
                found.append(rows[ordered[at] == rows[:, KEY]])
        return np.concatenate(found)

    def keys(self, kind: str, number: int) -> str:
        """Location of a range's keys."""
        return storage.join(self.location, "keys", f"{kind}-{number:05d}")

    def ids(self, group: int) -> str:
        """Location of the ids of a group of units, a slice each."""
        return storage.join(self.location, "ids", f"{group:05d}")

    def id_of(self, units: NDArray[np.int64], positions: NDArray[np.int64]) -> list[str]:
        """The ids of documents by their units' numbers and their positions."""
        out = [""] * len(units)
        begins = [first for first, _ in self.values["groups"]]
        for unit in np.unique(units).tolist():
            group = int(np.searchsorted(begins, unit, side="right")) - 1
            table = exchange.read_tables([self.ids(group)], unit - begins[group], IDS_SCHEMA)
            rows = np.flatnonzero(units == unit)
            at = np.searchsorted(table["position"].to_numpy(), positions[rows])
            for row, name in zip(rows.tolist(), table["id"].take(pa.array(at)).to_pylist(), strict=True):
                out[row] = name
        return out


def describe(near: NearDuplicates | None, exact: bool) -> dict[str, Any]:
    """What keys depend on; a corpus without near duplicates can be compared against one that has them."""
    texts = [VERSION, keys.VERSION]
    kept = None
    if near is not None:
        kept = [minhash.VERSION, words.VERSION, list(near.shape), near.seed, "sketches" if near.verify else "keys"]
    return {"exact": texts if exact else None, "near": kept}


def unique(rows: Rows) -> Rows:
    """Rows sorted by all columns but the node, each of these once, with the least node."""
    others = range(rows.shape[1] - 1, 1, -1)
    ordered = rows[np.lexsort((rows[:, 1], *(rows[:, column] for column in others), rows[:, KEY]))]
    if len(ordered) < 2:
        return ordered
    columns = [KEY, *range(2, rows.shape[1])]
    new = np.concatenate([[True], (ordered[1:][:, columns] != ordered[:-1][:, columns]).any(axis=1)])
    return ordered[new]
