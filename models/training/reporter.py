"""The seam between the loop and what runs it: Ray Train, a Ray Tune trial, or nothing.

The loop is the same under all of them; a reporter tells it who its workers are and takes what it has to tell.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from models.training.checkpoint import Checkpoints, write_file
from models.training.workers import Workers

_PROGRESS_SECONDS = 1.0


class Reporter(Protocol):
    """Who runs the loop."""

    workers: Workers
    rungs: Sequence[int]
    """Token counts at which the loop validates and calls `rung`."""

    def steps(self, lines: list[dict[str, Any]], steps_done: int, steps: int) -> None:
        """New metric lines, on rank 0."""

    def rung(self, figures: dict[str, Any]) -> bool:
        """A rung was reached; False stops the run here."""

    def committed(self, location: str, figures: dict[str, Any], checkpoints: Checkpoints, keep: int) -> None:
        """A checkpoint is complete; called by all workers. Sees to it that only `keep` stay."""

    def resumed(self, location: str, checkpoints: Checkpoints) -> None:
        """The run continues from there; called by all workers."""


class AloneReporter:
    """One process that nobody runs: notebooks, tests.

    Args:
        device: where it computes.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.workers = Workers(device=device or torch.device("cpu"))
        self.rungs: Sequence[int] = ()

    def steps(self, lines: list[dict[str, Any]], steps_done: int, steps: int) -> None:
        """Nobody to tell."""

    def rung(self, figures: dict[str, Any]) -> bool:
        """Always goes on."""
        return True

    def committed(self, location: str, figures: dict[str, Any], checkpoints: Checkpoints, keep: int) -> None:
        """Remove older checkpoints."""
        if self.workers.first:
            checkpoints.keep(keep)

    def resumed(self, location: str, checkpoints: Checkpoints) -> None:
        """Nobody to tell."""


class TrainReporter:
    """A Ray Train worker: checkpoints are registered with Ray, figures become gauges and a progress file.

    Checkpoints are written by us and registered when they are complete, so Ray never knows of one that is not. Ray
    deletes old ones (`CheckpointConfig.num_to_keep`).

    Args:
        run_directory: where `progress.json` goes, which the driver watches.
        name: the run's name, a tag of the gauges.
    """

    def __init__(self, run_directory: str, name: str) -> None:
        import ray.train
        from ray.train.torch import get_device

        context = ray.train.get_context()
        self.workers = Workers(context.get_world_rank(), context.get_world_size(), get_device())
        self.rungs: Sequence[int] = ()
        self._progress, self._written = f"{run_directory}/progress.json", 0.0
        self._gauges = _Gauges(name) if self.workers.first else None

    def steps(self, lines: list[dict[str, Any]], steps_done: int, steps: int) -> None:
        """Set the gauges; write the progress file at most once a second."""
        if not lines:
            return
        if self._gauges:
            self._gauges.set(lines[-1])
        now = time.monotonic()
        if now - self._written >= _PROGRESS_SECONDS or steps_done == steps:
            self._written = now
            write_file(self._progress, json.dumps({"steps": steps_done, "of": steps, **lines[-1]}).encode())

    def rung(self, figures: dict[str, Any]) -> bool:
        """Ray Train has no rungs."""
        return True

    def committed(self, location: str, figures: dict[str, Any], checkpoints: Checkpoints, keep: int) -> None:
        """Register it with Ray."""
        self._register(location, figures)

    def resumed(self, location: str, checkpoints: Checkpoints) -> None:
        """Register it, in case that the crash came between its marker and its registration."""
        import ray.train

        known = ray.train.get_checkpoint()
        name = os.path.basename(location)
        if self.workers.from_first(known is None or os.path.basename(known.path) != name):
            self._register(location, {})

    def _register(self, location: str, figures: dict[str, Any]) -> None:
        import ray.train
        from ray.train import Checkpoint
        from ray.train.v2.api.report_config import CheckpointUploadMode

        storage = ray.train.get_context().get_storage()
        checkpoint = None
        if self.workers.first:
            path = f"{storage.experiment_fs_path}/{os.path.basename(location)}"
            checkpoint = Checkpoint(path, filesystem=storage.storage_filesystem)
        ray.train.report(figures, checkpoint=checkpoint, checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD)


class TuneReporter(AloneReporter):
    """A Ray Tune function trial of one process: reports once, at its budget's end.

    Args:
        rung: its budget in tokens.
        diverged: what a diverged trial reports: a NaN could not be ranked.
        diverged_above: a loss in nats that only a diverged network has.
        device: where it computes.
    """

    def __init__(self, rung: int, diverged: float, diverged_above: float, device: torch.device | None = None) -> None:
        super().__init__(device)
        self.rungs, self._diverged, self._diverged_above = (rung,), diverged, diverged_above

    def rung(self, figures: dict[str, Any]) -> bool:
        """Report to Tune; the run ends here."""
        from ray import tune

        values = {key: value for key, value in figures.items() if isinstance(value, int | float)}
        loss = values.get("validation_loss", values["loss"])
        diverged = not math.isfinite(loss) or loss >= self._diverged_above
        objective = values.get("validation_bits_per_byte", loss)
        tune.report({**values, "objective": self._diverged if diverged else objective, "diverged": diverged})
        return False


class _Gauges:
    """`groundwork_training_*` in Ray's Prometheus metrics."""

    _FIGURES = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "tokens", "validation_bits_per_byte")

    def __init__(self, name: str) -> None:
        from ray.util.metrics import Gauge

        self._gauges = {
            figure: Gauge(f"groundwork_training_{figure}", f"{figure} of the newest step", tag_keys=("run",))
            for figure in self._FIGURES
        }
        self._tags = {"run": name}

    def set(self, line: dict[str, Any]) -> None:
        """Show a metrics line."""
        for figure, gauge in self._gauges.items():
            if line.get(figure) is not None:
                gauge.set(float(line[figure]), tags=self._tags)
