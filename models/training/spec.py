"""What a run is, as every worker gets it, and where its files lie below the run directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.network import ModelSettings
from models.training.data import Dataset
from models.training.settings import TrainingSettings

CHECKPOINTS = "checkpoints"
FINAL_SUMMARY = "final/summary.json"
METRICS = "metrics.jsonl"
PROGRESS = "progress.json"
SAMPLES = "samples.jsonl"
TENSORBOARD = "tensorboard"
VALIDATION_BEFORE = "validation_before"
"""Among a run's figures: those of the weights that it started from."""


@dataclass(frozen=True)
class TrainingSpec:
    """A run, as every worker gets it; see `fit` for the fields.

    `run` is the fingerprint that checkpoints are matched by. Without `run_directory` nothing is written.
    `tokenizer_json` is the content of a tokenizer file, which texts that the network writes need.
    """

    model: ModelSettings
    initial_weights: str | None
    training: TrainingSettings
    dataset_factory: Callable[[], Dataset]
    validation_factory: Callable[[], Dataset] | None
    token_bytes: np.ndarray | None
    run_directory: str | None
    name: str
    seed: int
    run: str = ""
    tokenizer_json: str | None = None
