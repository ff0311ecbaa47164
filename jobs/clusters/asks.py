"""What a job asks Ray for: its workers, by what each takes and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Ask:
    """Equal workers (or tasks) of a job.

    Attributes:
        bundle: what each takes, as {"CPU": 1.0} or {"GPU": 1.0}.
        count: that are asked for at once.
        most: that it grows to where there is room; None: it does not grow.
        gang: all `count` are one placement group, packed onto as few nodes as hold them: all start, or none.
        gpu_instead: GPUs that each takes in the bundle's place where the cluster has as many for all `count`; 0: it
            stays with the bundle.
    """

    bundle: dict[str, float]
    count: int = 1
    most: int | None = None
    gang: bool = False
    gpu_instead: float = 0.0

    def where(self, gpus: float) -> Ask:
        """The ask on a cluster that has so many GPUs, or brings them."""
        if not self.gpu_instead or gpus < self.gpu_instead * self.count:
            return self
        return replace(self, bundle={"GPU": self.gpu_instead}, gpu_instead=0.0)

    @property
    def ceiling(self) -> int:
        """Workers at most."""
        return max(self.count, self.most or 0)

    def __str__(self) -> str:
        """As `8 workers of 1 GPU, all or none`, `1 to 40 workers of 1 CPU`."""
        span = f"{self.count} to {self.ceiling}" if self.ceiling > self.count else f"{self.count}"
        workers = f"{span} worker{'s'[: self.ceiling != 1]} of {in_words(self.bundle)}"
        return f"{workers}, all or none" if self.gang and self.count > 1 else workers


def at_once(asks: Sequence[Ask]) -> dict[str, float]:
    """All that is asked for at once, by resource."""
    total: dict[str, float] = {}
    for ask in asks:
        for name, amount in ask.bundle.items():
            total[name] = total.get(name, 0.0) + amount * ask.count
    return total


def in_words(resources: dict[str, float]) -> str:
    """As `8 GPU, 16 CPU`."""
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items()) or "nothing beyond the driver"
