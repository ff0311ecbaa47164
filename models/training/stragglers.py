"""Names a worker that keeps the others waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TIMES = 1.5
_IN_A_ROW = 3


class Stragglers:
    """Looks at the lines of steps, one a look at the device.

    A worker is named when it is the slowest, by half of the median's own time, three looks in a row; once.

    Args:
        nodes: where each rank runs.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        self._nodes, self._named = nodes, set[int]()
        self._rank, self._count = -1, 0

    def add(self, line: Mapping[str, Any]) -> str | None:
        """A new line; words about a worker that is to be named."""
        rank, ratio = line.get("slowest_rank", -1), line.get("slowest_to_median", 1.0)
        if ratio < _TIMES:
            self._rank, self._count = -1, 0
            return None
        self._count = self._count + 1 if rank == self._rank else 1
        self._rank = rank
        if self._count < _IN_A_ROW or rank in self._named:
            return None
        self._named.add(rank)
        return (
            f"rank {rank} on {self._nodes[rank]} takes {ratio:.1f} times as long for its part of a step as the median"
        )
