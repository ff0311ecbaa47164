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
from pipelines.curation.dedup.buckets import KEY, NODE
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.settings import NearDuplicates
from pipelines.kernels import njit

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

    def rows(self, kind: str, number: int, slices: int, wanted: Rows) -> list[Rows]:
        """Rows whose keys are among those of the wanted rows, of the range `number` of `slices`.

        One file is held at a time.

        Args:
            wanted: sorted by key.
        """
        found = []
        for part in exchange.overlapping(number, slices, int(self.values["slices"][kind])):
            rows = np.frombuffer(exchange.read(self.keys(kind, part), 0), "<u8").reshape(-1, wanted.shape[1])
            own = np.empty((with_keys(rows, wanted, wanted[:0]), wanted.shape[1]), np.uint64)
            with_keys(rows, wanted, own)
            found.append(own)
            del rows
        return found

    def keys(self, kind: str, number: int) -> str:
        """Location of a range's keys."""
        return storage.join(self.location, "keys", f"{kind}-{number:05d}")

    def ids(self, group: int) -> str:
        """Location of the ids of a group of units, a slice each."""
        return storage.join(self.location, "ids", f"{group:05d}")

    @property
    def groups(self) -> list[int]:
        """The number of the first unit of each group."""
        return [first for first, _ in self.values["groups"]]

    def ids_at(self, unit: int, positions: NDArray[np.uint64]) -> pa.Array:
        """The ids of documents of a unit, by its number and their positions."""
        group = int(np.searchsorted(self.groups, unit, side="right")) - 1
        table = exchange.read_tables([self.ids(group)], unit - self.groups[group], IDS_SCHEMA)
        at = np.searchsorted(table["position"].to_numpy(), positions)
        return table["id"].take(pa.array(at)).combine_chunks()


@njit("int64(Array(uint64, 2, 'C', readonly=True), uint64[:, ::1], uint64[:, ::1])", cache=True, nogil=True)
def with_keys(rows: NDArray[np.uint64], wanted: NDArray[np.uint64], out: NDArray[np.uint64]) -> int:
    """Copy rows whose key is wanted; returns how many there are. Both are sorted by key, the first column.

    Args:
        rows: [n, w].
        wanted: [m, w].
        out: [k, w], as many as there are; or [0, w]: they are counted only.
    """
    count = at = 0
    for i in range(len(rows)):
        while at < len(wanted) and wanted[at, KEY] < rows[i, KEY]:
            at += 1
        if at < len(wanted) and wanted[at, KEY] == rows[i, KEY]:
            if count < len(out):
                out[count] = rows[i]
            count += 1
    return count


def describe(near: NearDuplicates | None, exact: bool) -> dict[str, Any]:
    """What keys depend on; a corpus without near duplicates can be compared against one that has them."""
    texts = [VERSION, keys.VERSION]
    kept = None
    if near is not None:
        kept = [minhash.VERSION, words.VERSION, list(near.shape), near.seed, "sketches" if near.verify else "keys"]
    return {"exact": texts if exact else None, "near": kept}


def unique(rows: Rows) -> Rows:
    """Of rows, as `sort_rows` orders them, those that differ in more than the node: each with the least node."""
    out = np.empty((first_of(rows, rows[:0]), rows.shape[1]), np.uint64)
    first_of(rows, out)
    return out


@njit("int64(uint64[:, ::1], uint64[:, ::1])", cache=True, nogil=True)
def first_of(rows: NDArray[np.uint64], out: NDArray[np.uint64]) -> int:
    """See `unique`; `out` as for `with_keys`."""
    count = 0
    for i in range(len(rows)):
        new = i == 0
        if not new:
            for word in range(rows.shape[1]):
                new = new or (word != NODE and rows[i, word] != rows[i - 1, word])
        if new:
            if count < len(out):
                out[count] = rows[i]
            count += 1
    return count
