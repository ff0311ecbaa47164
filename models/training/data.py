"""What a training loop reads: batches by sample number, so that the data cursor is one integer.

`batch(indices)` is a pure function: the same numbers give the same arrays in any process, at any world size and after
any resume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

IGNORED = -100
"""The label of a position that is no target."""


@runtime_checkable
class Dataset(Protocol):
    """Samples by number."""

    sequence_length: int

    def __len__(self) -> int:
        """Samples in one pass; numbers at or above it are valid too (a later pass)."""

    def batch(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """`input_ids`, `labels` (-100 = not a target, aligned with the logits) and `documents`, each int [n, T]."""


@runtime_checkable
class SourcedDataset(Dataset, Protocol):
    """A dataset that knows where a sample comes from; validation is then also told per source."""

    def source(self, index: int) -> str:
        """The source's name."""


class Samples(Protocol):
    """What `pipelines.tokens.Samples` offers."""

    sequence_length: int

    def __len__(self) -> int: ...

    def sample(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and document numbers, each [T + 1]."""

    def source(self, k: int) -> str:
        """The source of sample k."""


Objective = Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""(tokens [T+1], documents [T+1], seed, sample number) -> (input_ids [T], labels [T], documents [T])."""


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

    def source(self, index: int) -> str:
        """The name of the source that a sample was cut from."""
        return self.samples.source(index)

    def batch(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """See `Dataset.batch`."""
        shape = (len(indices), self.sequence_length)
        out = {name: np.empty(shape, dtype=np.int64) for name in ("input_ids", "labels", "documents")}
        for row, index in enumerate(indices):
            tokens, documents = self.samples.sample(int(index))
            parts = self.objective(tokens, documents, self.seed, int(index))
            for name, part in zip(out, parts, strict=True):
                out[name][row] = part
        return out
