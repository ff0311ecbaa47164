"""What one worker computes in a step: its micro batches, and how many targets and bytes these stand for."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.training.batch import NOTHING, BatchPlan
from models.training.data import IGNORED, Dataset, StagedDataset
from models.training.engine import Batch
from models.training.workers import Workers


@dataclass(frozen=True)
class Work:
    """A step of one worker.

    Attributes:
        batches: its micro batches.
        counts: float64 [3], their targets, the bytes that these stand for, and what the loop asks for (`Urgency`);
            where workers share sequences, only the first one counts targets and bytes.
    """

    batches: list[Batch]
    counts: Tensor


class Portions:
    """A worker's part of each step.

    Args:
        data: what is trained on.
        plan: who takes which samples.
        workers: who this one is.
        token_bytes: int [V], bytes each token id stands for; None: they are not counted.
    """

    def __init__(self, data: Dataset, plan: BatchPlan, workers: Workers, token_bytes: np.ndarray | None) -> None:
        self._data, self._plan, self._workers, self._token_bytes = data, plan, workers, token_bytes
        self._borders = data.borders if isinstance(data, StagedDataset) else ()
        self._counts = workers.rank % plan.sequence_parallel == 0

    def __call__(self, step: int, skipped: int) -> Work:
        """The work of a step, after `skipped` samples that nobody trains on."""
        batches = [self._batch(ids) for ids in self._plan.micro_batches(step, self._workers.rank, skipped)]
        counts = torch.zeros(3, dtype=torch.float64)
        if self._counts:
            for batch in batches:
                targets = batch["labels"][batch["labels"] != IGNORED]
                counts[0] += targets.size
                if self._token_bytes is not None:
                    counts[1] += int(self._token_bytes[targets].sum())
        if self._workers.device.type == "cuda":
            # From pinned memory, copies to the GPU hold nothing up.
            batches = [{name: _pinned(values) for name, values in batch.items()} for batch in batches]
            counts = counts.pin_memory()
        return Work(batches, counts)

    def stage(self, samples: int) -> int:
        """The number of the mixture's stage, from 0 on, that the last of so many samples is of."""
        return bisect_left(self._borders, samples)

    def _batch(self, ids: list[int]) -> Batch:
        if NOTHING not in ids:
            return self._data.batch(ids)
        known = next((number for number in ids if number != NOTHING), 0)
        batch = self._data.batch([known if number == NOTHING else number for number in ids])
        labels = batch["labels"].copy()
        labels[[row for row, number in enumerate(ids) if number == NOTHING]] = IGNORED
        return {**batch, "labels": labels}


def _pinned(values: np.ndarray) -> np.ndarray:
    """The same numbers in pinned memory, as the wide integers that the network takes."""
    return torch.from_numpy(values).to(torch.int64).pin_memory().numpy()
