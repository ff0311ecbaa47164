"""Which samples a worker sees in which step: the same global batches at any number of workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchPlan:
    """How a step's samples are shared out.

    Step s is made of the samples [s*B, (s+1)*B) with B = tokens_per_step / sequence_length; rank r takes every
    world-th of them from the r-th on, in `accumulation` micro batches of `micro_batch` sequences.

    Attributes:
        tokens_per_step: tokens of a global batch.
        sequence_length: tokens of a sequence.
        micro_batch: sequences a worker in one forward pass: the largest divisor of its share that is no larger than
            what was asked for.
        world: number of workers.

    Raises:
        ValueError: the batch cannot be shared out evenly.
    """

    tokens_per_step: int
    sequence_length: int
    micro_batch: int
    world: int

    def __post_init__(self) -> None:
        if self.tokens_per_step % self.sequence_length:
            raise ValueError(f"{self.tokens_per_step} tokens a step are no whole sequences of {self.sequence_length}")
        if self.sequences % self.world:
            raise ValueError(f"{self.sequences} sequences a step cannot be shared evenly by {self.world} workers")
        share = self.sequences // self.world
        fitting = next(size for size in range(min(self.micro_batch, share), 0, -1) if share % size == 0)
        object.__setattr__(self, "micro_batch", fitting)

    @property
    def sequences(self) -> int:
        """Sequences of a global batch."""
        return self.tokens_per_step // self.sequence_length

    @property
    def accumulation(self) -> int:
        """Micro batches a worker runs in a step."""
        return self.sequences // self.world // self.micro_batch

    def micro_batches(self, step: int, rank: int) -> list[list[int]]:
        """The sample numbers of a worker's micro batches in a step."""
        first = step * self.sequences
        mine = list(range(first + rank, first + self.sequences, self.world))
        return [mine[at : at + self.micro_batch] for at in range(0, len(mine), self.micro_batch)]
