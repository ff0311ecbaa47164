"""`fit`: train a network on the Ray cluster and hand back its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.training.data import Dataset
from models.training.settings import TrainingSettings

if TYPE_CHECKING:
    from torch import Tensor

    from models.network import ModelSettings


@dataclass(frozen=True)
class TrainingResult:
    """What training leaves.

    Attributes:
        state_dict: final weights in fp32 on the CPU, under Hugging Face names.
        metrics: final figures (`loss`, `tokens_per_second`, `seconds`, and with validation data `validation_loss`,
            `validation_bits_per_byte`, `validation` by source).
        checkpoint: directory of the newest committed checkpoint.
        steps: optimizer steps taken, those before a resume included.
        tokens: tokens seen.
    """

    state_dict: dict[str, Tensor]
    metrics: dict[str, Any]
    checkpoint: str
    steps: int
    tokens: int


def fit(
    model: ModelSettings,
    initial_weights: str | None,
    training: TrainingSettings,
    dataset_factory: Callable[[], Dataset],
    validation_factory: Callable[[], Dataset] | None,
    token_bytes: np.ndarray | None,
    run_directory: str,
    name: str,
    seed: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> TrainingResult:
    """Train with Ray Train; call `jobs.job.connect()` first.

    A run that was cut short continues from its newest committed checkpoint when `fit` is called again with the same
    `run_directory`. The factories are pickled and called in every worker.

    Args:
        model: the network.
        initial_weights: a Hugging Face directory to start from; None: fresh weights from `seed`.
        training: budget, batch, optimizer, engine, workers.
        dataset_factory: makes the training data in a worker.
        validation_factory: makes the validation data; None: no validation.
        token_bytes: int [V], the UTF-8 bytes each token id stands for; None: no bits per byte.
        run_directory: where metrics.jsonl, checkpoints and final weights go; a path or URI all workers reach.
        name: of the run, for logs and metrics.
        seed: of fresh weights.
        progress: called in the driver with (steps done, steps in all, a note) every few seconds.

    Raises:
        RuntimeError: training failed more than `training.max_failures` times, with the worker's last error.
    """
    raise NotImplementedError
