"""What all contenders of the speed part share: the network's shape, the batch, the tokens, and how memory is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.network import ModelSettings
from models.training.data import Dataset, PretrainingDataset
from models.training.pretraining import ObjectiveSettings, PretrainingData
from pipelines.tokens import MixtureSettings

LENGTH, ROWS = 512, 8
SHAPE = ModelSettings(
    vocabulary_size=8192,
    hidden_size=384,
    layers=6,
    heads=6,
    kv_heads=6,
    feed_forward_size=1024,
    maximum_positions=2048,
    tied_embeddings=True,
)
LEARNING_RATE, BETAS, WEIGHT_DECAY, CLIP = 1e-3, (0.9, 0.95), 0.1, 1.0
SEED = 1


def data(store: str, split: str = "train", length: int = LENGTH) -> PretrainingData:
    """Windows of the store, cut at every border; sample k is the same for every contender."""
    return PretrainingData(
        store, split, length, MixtureSettings(), ObjectiveSettings(), SEED if split == "train" else 0
    )


@dataclass(frozen=True)
class WholeRows:
    """Makes the store's dataset with every row taken for one document: what the plain programs compute.

    Attention within documents is less work, so a comparison of speed leaves it out.
    """

    data: PretrainingData

    def __call__(self) -> Dataset:
        """The dataset."""
        return _WholeRows(self.data())


class _WholeRows:
    def __init__(self, dataset: PretrainingDataset) -> None:
        self._dataset, self.sequence_length = dataset, dataset.sequence_length

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, indices: list[int]) -> dict[str, np.ndarray]:
        found = self._dataset.batch(indices)
        return {**found, "documents": np.zeros_like(found["documents"])}


def batches(store: str, rows: int = ROWS, length: int = LENGTH) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels [rows, length] of step after step: the samples that our loop takes in its steps."""
    dataset, first = data(store, length=length)(), 0
    while True:
        found = dataset.batch(range(first, first + rows))
        first += rows
        yield torch.from_numpy(found["input_ids"]), torch.from_numpy(found["labels"])


def initial_weights() -> dict[str, Tensor]:
    """The weights that all contenders start from, under Hugging Face names."""
    from models.network import Transformer

    return {name: weight.detach() for name, weight in Transformer(SHAPE, seed=SEED).named_parameters()}


def held() -> int:
    """Bytes of memory that this process holds now; its high-water mark starts again from there."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """The most bytes of memory that this process held since `held`."""
    return _status("VmHWM")


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
