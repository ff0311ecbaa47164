"""One comparison of a whole corpus: what it is of, how it is cut, where its files are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines import storage
from pipelines.curation.dedup.exchange import Scale
from pipelines.curation.dedup.index import Index
from pipelines.curation.dedup.settings import DuplicateSettings
from pipelines.curation.planning import Unit
from pipelines.curation.workspace import Workspace

NEW = np.uint64(1 << 63)
"""A node is a document: this bit · number of its unit · 32 bits of its position in it; or without the bit 8 bits of
the number of an earlier corpus · the unit's number in its index · the position. So earlier documents are the least."""

KINDS = ("exact", "near")

_AT_ONCE = 1 << 16
"""So many nodes are looked up at a time."""


@dataclass(frozen=True)
class Comparison:
    """See the module.

    Attributes:
        place: the curation's files.
        key: names the comparison: a hash of all it depends on.
        settings: what counts.
        units: by name; their order gives their numbers.
        counts: documents of each.
        earlier: indexes of the corpora that it is compared against.
        scale: how much a task takes.
    """

    place: Workspace
    key: str
    settings: DuplicateSettings
    units: tuple[Unit, ...]
    counts: tuple[int, ...]
    earlier: tuple[Index, ...]
    scale: Scale

    @property
    def documents(self) -> int:
        """Of all units."""
        return sum(self.counts)

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """Ranges of units' numbers that are one task each."""
        return groups_of(self.counts, self.scale.group(sum(self.keys(kind) * self.width(kind) for kind in KINDS)))

    def keys(self, kind: str) -> int:
        """Of a document; 0: the kind is not compared."""
        near = self.settings.near
        return int(self.settings.exact) if kind == "exact" else near.shape[0] if near is not None else 0

    def slices(self, kind: str) -> int:
        """Into how many ranges of keys the rows of a kind are cut; 0: it is not compared."""
        keys = self.keys(kind)
        return self.scale.slices(self.documents * keys, self.width(kind)) if keys else 0

    def width(self, kind: str) -> int:
        """Numbers a row: key and node, and the other half of the key or a sketch."""
        near = self.settings.near
        return 3 if kind == "exact" else 6 if near is not None and near.verify is not None else 2

    @cached_property
    def begins(self) -> NDArray[np.uint64]:
        """The first node of each group: those of the earlier corpora's, then of this one's."""
        first = [
            earlier_nodes(corpus, np.array(index.groups, np.uint64) << np.uint64(32))
            for corpus, index in enumerate(self.earlier)
        ]
        return np.concatenate([*first, nodes_of(0, np.array(self.groups, np.uint64)[:, 0] << np.uint64(32))])

    def group_of(self, nodes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The number of the group that each document is in: this corpus's groups come first, then the earlier ones'."""
        out = np.empty(len(nodes), np.int64)
        for begin in range(0, len(nodes), _AT_ONCE):
            some = np.searchsorted(self.begins, nodes[begin : begin + _AT_ONCE], side="right") - 1
            out[begin : begin + _AT_ONCE] = (some + len(self.groups)) % len(self.begins)
        return out

    @property
    def work(self) -> str:
        """Files that are needed until the comparison is done."""
        return storage.join(self.place.duplicates(self.key), "work")

    def file(self, kind: str, number: int, turn: int | None = None) -> str:
        """A task's file."""
        name = f"{number:05d}" if turn is None else f"{turn:03d}-{number:05d}"
        return storage.join(self.work, kind, name)

    @property
    def index(self) -> Index:
        """Where the index of this corpus goes."""
        return Index(storage.join(self.place.output, "duplicates", self.key), {})


def groups_of(counts: Sequence[int], most: int) -> tuple[tuple[int, int], ...]:
    """Neighbours put together to at most so many, if it is several; [first, end) each."""
    found, first, held = [], 0, 0
    for number, count in enumerate(counts):
        if held and held + count > most:
            found.append((first, number))
            first, held = number, 0
        held += count
    return (*found, (first, len(counts)))


def nodes_of(unit: int, positions: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The nodes of a unit's documents."""
    return NEW | np.uint64(unit << 32) | positions


def earlier_nodes(corpus: int, nodes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Nodes of an earlier corpus, as its index has them, in this comparison."""
    return (nodes & ~NEW) | np.uint64(corpus << 55)
