"""Which samples a worker sees in which step: the same global batches at any number of workers."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.training.settings import TrainingSettings


NOTHING = -1
"""In place of a sample's number: a sequence without targets."""


@dataclass(frozen=True)
class Steps:
    """The steps of a budget: how many sequences each takes, and from which sample on.

    Stages of a batch ramp follow each other; each is a number of whole steps. The last goes on beyond the budget.

    Attributes:
        sequence_length: tokens of a sequence.
        sequences: sequences of a step, by stage.
        first_step: the number of each stage's first step.
        first_sample: the sample it begins with.
        total: steps of the budget.
    """

    sequence_length: int
    sequences: tuple[int, ...]
    first_step: tuple[int, ...]
    first_sample: tuple[int, ...]
    total: int

    @staticmethod
    def of(settings: TrainingSettings) -> Steps:
        """The steps of a run; the budget is rounded up to whole steps, and so is each stage of the ramp."""
        length = settings.sequence_length
        stages = [(stage.tokens, stage.tokens_per_step) for stage in settings.batch_ramp if stage.tokens > 0]
        sequences, first_step, first_sample = [], [], []
        step = sample = 0
        for until, tokens in [*stages, (settings.tokens, settings.tokens_per_step)]:
            left = min(until, settings.tokens) - sample * length
            each = tokens // length
            sequences.append(each)
            first_step.append(step)
            first_sample.append(sample)
            count = max(0, -(-left // tokens))
            step, sample = step + count, sample + count * each
        return Steps(length, tuple(sequences), tuple(first_step), tuple(first_sample), step)

    def _stage(self, step: int) -> int:
        return bisect_right(self.first_step, step) - 1

    def sequences_of(self, step: int) -> int:
        """Sequences of a step."""
        return self.sequences[self._stage(step)]

    def samples_before(self, step: int) -> int:
        """Samples that the steps before this one took: the data cursor."""
        stage = self._stage(step)
        return self.first_sample[stage] + (step - self.first_step[stage]) * self.sequences[stage]

    def tokens_before(self, step: int) -> int:
        """Tokens that the steps before this one took."""
        return self.samples_before(step) * self.sequence_length

    @property
    def samples(self) -> int:
        """Samples of the whole budget."""
        return self.samples_before(self.total)


@dataclass(frozen=True)
class BatchPlan:
    """How a step's samples are shared out.

    A step of n sequences takes n samples in a row, from `Steps.samples_before` (and what a guard skipped) on; data
    worker r takes every `data_workers`-th of them from the r-th on. It takes them in as few micro batches of at most
    `micro_batch` sequences as hold them; their sizes differ by one at most, and are the same in all workers. Workers
    that share sequences are one data worker. Where the samples do not come out even, the last workers get `NOTHING`
    for one.

    Attributes:
        steps: the run's steps.
        micro_batch: sequences a worker in one forward pass, at most.
        world: number of workers.
        sequence_parallel: workers that share each sequence.

    """

    steps: Steps
    micro_batch: int
    world: int
    sequence_parallel: int = 1

    @staticmethod
    def of(settings: TrainingSettings, world: int) -> BatchPlan:
        """The plan of a run on so many workers."""
        return BatchPlan(Steps.of(settings), settings.micro_batch, world, settings.sequence_parallel)

    @property
    def data_workers(self) -> int:
        """Workers with samples of their own."""
        return self.world // self.sequence_parallel

    def rows(self, step: int) -> int:
        """Sequences of the step's largest micro batch."""
        return -(-self._share(step) // self.accumulation(step))

    def accumulation(self, step: int) -> int:
        """Micro batches a worker runs in a step."""
        return -(-self._share(step) // self.micro_batch)

    def _share(self, step: int) -> int:
        return -(-self.steps.sequences_of(step) // self.data_workers)

    def micro_batches(self, step: int, rank: int, skipped: int = 0) -> list[list[int]]:
        """The sample numbers of a worker's micro batches in a step, after `skipped` samples that nobody trains on."""
        first = self.steps.samples_before(step) + skipped
        last = first + self.steps.sequences_of(step)
        mine = list(range(first + rank // self.sequence_parallel, last, self.data_workers))
        mine += [NOTHING] * (self._share(step) - len(mine))
        count = self.accumulation(step)
        ends = [len(mine) * number // count for number in range(count + 1)]
        return [mine[begin:end] for begin, end in pairwise(ends)]
