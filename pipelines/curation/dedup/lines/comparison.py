"""One comparison of all segments of a corpus: what it is of, how it is cut, where its files are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pipelines import storage
from pipelines.curation.dedup.comparison import groups_of
from pipelines.curation.dedup.settings import LineDuplicates
from pipelines.curation.planning import Unit
from pipelines.curation.workspace import Workspace


@dataclass(frozen=True)
class LineScale:
    """How the work is cut: into groups of so many segments, and slices of so many rows."""

    segments: int
    rows: int

    @staticmethod
    def of(segments: int) -> LineScale:
        """By the square root; no task has more than 8 million segments or rows: 1.4 GB with two preferences."""
        most = min(max(segments // 64, 1 << 20), 8_000_000)
        return LineScale(most, most)


@dataclass(frozen=True)
class LineComparison:
    """See the module.

    Attributes:
        place: the curation's files.
        key: names the comparison: a hash of all it depends on.
        settings: what counts.
        ranks: how many numbers order documents.
        units: by name.
        counts: segments of each.
        scale: how much a task takes.
    """

    place: Workspace
    key: str
    settings: LineDuplicates
    ranks: int
    units: tuple[Unit, ...]
    counts: tuple[int, ...]
    scale: LineScale

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """Ranges of units' numbers that are one task each."""
        return groups_of(self.counts, self.scale.segments)

    @property
    def slices(self) -> int:
        """Into how many ranges of keys the rows are cut."""
        return max(1, -(-sum(self.counts) // self.scale.rows))

    @property
    def width(self) -> int:
        """Numbers a row: key, documents, and the rank of the first of these."""
        return 2 + self.ranks

    def file(self, kind: str, number: int) -> str:
        """A task's file."""
        return storage.join(self.place.line_work(self.key), kind, f"{number:05d}")
