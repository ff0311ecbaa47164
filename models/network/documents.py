"""Where the documents of a batch lie, worked out on the host: nothing has to be read back from the device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Documents:
    """The documents of rows that hold several.

    Attributes:
        numbers: int64 [B, T] the document of each position, counted from 1 in each batch.
        positions: int64 [B, T], from 0 on in each document.
        bounds: int32 [n + 1], where each begins in the flattened rows; the last number is repeated up to a power of
            two of entries, so that compiled kernels meet few shapes.
        lengths: of each document, in the order of the flattened rows; their sum is B * T.
    """

    numbers: Tensor
    positions: Tensor
    bounds: Tensor
    lengths: tuple[int, ...]

    @staticmethod
    def of(documents: NDArray[np.integer] | Tensor) -> Documents | None:
        """From document numbers [B, T], each document's positions contiguous; None: every row is one document."""
        numbers = documents.cpu().numpy() if isinstance(documents, Tensor) else np.asarray(documents)
        rows, length = numbers.shape
        starts = np.ones((rows, length), bool)
        starts[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
        begins = np.flatnonzero(starts)
        if len(begins) == rows:
            return None
        lengths = np.diff(begins, append=rows * length)
        positions = np.arange(rows * length) - np.repeat(begins, lengths)
        bounds = np.full(1 << len(begins).bit_length(), rows * length, np.int32)
        bounds[: len(begins)] = begins
        found = Documents(
            numbers=torch.from_numpy(starts.cumsum().reshape(rows, length)),
            positions=torch.from_numpy(positions.reshape(rows, length)),
            bounds=torch.from_numpy(bounds),
            lengths=tuple(lengths.tolist()),
        )
        return found.to(documents.device) if isinstance(documents, Tensor) else found

    def to(self, device: torch.device) -> Documents:
        """The same with its tensors there."""
        moved = (each.to(device, non_blocking=True) for each in (self.numbers, self.positions, self.bounds))
        numbers, positions, bounds = moved
        return replace(self, numbers=numbers, positions=positions, bounds=bounds)
