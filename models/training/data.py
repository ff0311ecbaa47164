"""What a training loop reads: batches by sample number, so that the data cursor is one integer.

`batch(indices)` is a pure function: the same numbers give the same arrays in any process, at any world size and after
any resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from models.network.objectives import Objective

IGNORED = -100
"""The label of a position that is no target."""


@runtime_checkable
class Dataset(Protocol):
    """Samples by number."""

    sequence_length: int

    def __len__(self) -> int:
        """Samples in one pass; numbers at or above it are valid too (a later pass)."""

    def batch(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """`input_ids`, `labels` (-100 = not a target, aligned with the logits) and `documents`, each int [n, T].

        Attention stays within a document, and the network derives positions from `documents`: they start at 0
        wherever the number changes.
        """


@runtime_checkable
class SourcedDataset(Dataset, Protocol):
    """A dataset that knows where a sample comes from; validation is then also told per source."""

    def source(self, index: int) -> str:
        """The source's name."""


@runtime_checkable
class RemoteDataset(Dataset, Protocol):
    """A dataset whose samples may have to be copied to this machine first."""

    def fetch(self, samples: int) -> None:
        """Have here what the first so many samples are made of."""


def fetched(dataset: Dataset, samples: int) -> Dataset:
    """The dataset with what its first so many samples are made of on this machine.

    Copies of a large store take longer than a training step may: this is called before the watchdog looks.
    """
    if isinstance(dataset, RemoteDataset):
        dataset.fetch(samples)
    return dataset


@runtime_checkable
class StagedDataset(Dataset, Protocol):
    """A dataset whose mixture changes on the way, and the loss with it."""

    @property
    def borders(self) -> Sequence[int]:
        """The number of each stage's first sample, but the first stage's, rising."""


class Samples(Protocol):
    """What `pipelines.tokens.Samples` offers."""

    sequence_length: int

    @property
    def borders(self) -> Sequence[int]:
        """See `StagedDataset.borders`."""

    def __len__(self) -> int: ...

    def fetch(self, samples: int) -> None:
        """Have here what the first so many samples are cut from."""

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, document numbers (-1: none) and positions, each [n, T + 1]."""

    def source(self, k: int) -> str:
        """The source of sample k."""


class PretrainingDataset:
    """A token store's samples seen through an objective.

    Args:
        samples: windows of the token store.
        objective: from `models.network.objectives`.
        seed: of the objective's own choices (what is masked).
    """

    def __init__(self, samples: Samples, objective: Objective, seed: int) -> None:
        self.samples, self.objective, self.seed = samples, objective, seed
        self.sequence_length = samples.sequence_length

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def borders(self) -> Sequence[int]:
        """See `StagedDataset.borders`."""
        return self.samples.borders

    def source(self, index: int) -> str:
        """The name of the source that a sample was cut from."""
        return self.samples.source(index)

    def fetch(self, samples: int) -> None:
        """See `RemoteDataset.fetch`."""
        self.samples.fetch(samples)

    def batch(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """See `Dataset.batch`."""
        tokens, documents, _ = self.samples.batch(indices)
        inputs, labels, numbers = self.objective.batch(tokens, documents, self.seed, indices)
        return {"input_ids": inputs, "labels": labels, "documents": numbers}
