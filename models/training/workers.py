"""The workers of one training run as one worker sees them: who it is, and how they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Workers:
    """Rank and number of workers; collectives need torch.distributed only where there is more than one.

    Attributes:
        rank: 0 writes what is written once.
        world: number of workers.
        given_device: where this worker computes, and where collectives run; None: the CPU.
    """

    rank: int = 0
    world: int = 1
    given_device: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """Where this worker computes; who only reads checkpoints does so without torch."""
        import torch

        return self.given_device or torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The elementwise sum over workers, in place; a no-op alone."""
        if self.world > 1:
            import torch.distributed as dist

            dist.all_reduce(values)
        return values

    def gather(self, value: float) -> list[float]:
        """The values of all workers, by rank."""
        import torch

        values = torch.zeros(self.world, dtype=torch.float64, device=self.device)
        values[self.rank] = value
        return self.sum(values).tolist()

    def barrier(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            import torch

            self.sum(torch.zeros(1, device=self.device))
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

    def from_first(self, value: Any) -> Any:
        """What rank 0 passed."""
        if self.world == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def everyone(self, value: Any) -> list[Any]:
        """What each worker passed, by rank."""
        if self.world == 1:
            return [value]
        import torch
        import torch.distributed as dist

        if self.device.type == "cuda":
            # NCCL gathers on the current device.
            torch.cuda.set_device(self.device)
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def first_of(self, value: Any) -> Any:
        """The value of the first worker that passed something else than None; called by all."""
        return next((each for each in self.everyone(value) if each is not None), None)
