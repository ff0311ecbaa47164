"""Trackers: where a run's figures go besides `metrics.jsonl`. Rank 0 alone has them.

A tracker is one small class and one line in `TRACKERS`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow.fs as pafs

from models.training.spec import TENSORBOARD, TrainingSpec
from models.training.storage import open_location

Figures = dict[str, float]
_COPY_SECONDS = 60.0


class Tracker(Protocol):
    """Takes a run's figures."""

    def log(self, step: int, figures: Figures) -> None:
        """The figures of a step; steps rise."""

    def close(self) -> None:
        """Write out what is not written."""


class TensorBoard:
    """Event files below the run directory, for `tensorboard --logdir`. Where files cannot be appended to, they are
    made in a temporary directory and copied every minute and at the end.

    Of a run that is continued, TensorBoard drops what the last process wrote of steps that are done again.
    """

    def __init__(self, spec: TrainingSpec, resumed_step: int) -> None:
        from tensorboardX import SummaryWriter

        fs, path = open_location(f"{spec.run_directory}/{TENSORBOARD}")
        self._fs, self._path, self._copied = fs, path, time.monotonic()
        self._temporary = None if isinstance(fs, pafs.LocalFileSystem) else tempfile.mkdtemp(prefix="tensorboard-")
        # The suffix keeps a continuation in the same second from overwriting its predecessor's file.
        suffix = f".from-{resumed_step + 1}"
        self._writer = SummaryWriter(self._temporary or path, purge_step=resumed_step + 1, filename_suffix=suffix)

    def log(self, step: int, figures: Figures) -> None:
        """See `Tracker`."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        if time.monotonic() - self._copied >= _COPY_SECONDS:
            self._writer.flush()
            self._copy()

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()
        self._copy()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _copy(self) -> None:
        self._copied = time.monotonic()
        if self._temporary is not None:
            self._fs.create_dir(self._path, recursive=True)
            pafs.copy_files(self._temporary, self._path, destination_filesystem=self._fs)


class WeightsAndBiases:
    """A run of Weights & Biases, named by the run's fingerprint, so that a continuation goes on with it.

    Project, mode (`WANDB_MODE=offline`) and key come from its own environment variables.
    """

    def __init__(self, spec: TrainingSpec, resumed_step: int) -> None:
        import wandb

        local = spec.run_directory if spec.run_directory and "://" not in spec.run_directory else None
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "groundwork"),
            name=spec.name,
            id=spec.run or None,
            resume="allow",
            dir=local,
            config={"model": spec.model.model_dump(), "training": spec.training.model_dump(), "seed": spec.seed},
        )

    def log(self, step: int, figures: Figures) -> None:
        """See `Tracker`; steps that are done again were logged before, and W&B leaves them as they were."""
        if step >= self._run.step:
            self._run.log(figures, step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()


class MLflow:
    """A run of MLflow, found again by the run's fingerprint.

    The server comes from `MLFLOW_TRACKING_URI`; without it, a database in the run directory takes the figures.
    """

    def __init__(self, spec: TrainingSpec, resumed_step: int) -> None:
        import mlflow

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None and spec.run_directory and "://" not in spec.run_directory:
            uri = f"sqlite:///{spec.run_directory}/mlflow.db"
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "groundwork")
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        found = self._client.search_runs([number], f"tags.groundwork_run = '{spec.run}'", max_results=1)
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        else:
            tags = {"groundwork_run": spec.run}
            self._run = self._client.create_run(number, tags=tags, run_name=spec.name).info.run_id
            for key, value in spec.training.model_dump(mode="json").items():
                self._client.log_param(self._run, f"training.{key}", value)
        logged = self._client.get_metric_history(self._run, "loss")
        self._last = max((each.step for each in logged), default=0)

    def log(self, step: int, figures: Figures) -> None:
        """See `Tracker`; steps that are done again were logged before, and stay as they were."""
        from mlflow.entities import Metric

        if step > self._last:
            metrics = [Metric(name, value, 0, step) for name, value in figures.items()]
            self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run)


TRACKERS: dict[str, tuple[Any, str]] = {
    "tensorboard": (TensorBoard, "tensorboardX"),
    "wandb": (WeightsAndBiases, "wandb"),
    "mlflow": (MLflow, "mlflow"),
}
"""By the name in `training.trackers`: the class, and the package that it needs."""


def check(names: Sequence[str]) -> None:
    """See to it that the trackers' packages are here.

    Raises:
        RuntimeError: one is missing; the message has the install line.
    """
    lacking = [TRACKERS[name][1] for name in names if importlib.util.find_spec(TRACKERS[name][1]) is None]
    if lacking:
        raise RuntimeError(
            f"training.trackers: {' and '.join(lacking)} must be installed where rank 0 runs: "
            f"pip install {' '.join(lacking)}"
        )


def open_trackers(spec: TrainingSpec, resumed_step: int) -> list[Tracker]:
    """The trackers of a run that goes on after `resumed_step`; none without a run directory."""
    names = spec.training.trackers if spec.run_directory else ()
    return [TRACKERS[name][0](spec, resumed_step) for name in names]


def flat(line: dict[str, Any]) -> Figures:
    """The numbers of a metrics line; those of a group as `group/name`. What a validation's line repeats is left out."""
    figures: Figures = {}
    repeated = {"step", "tokens", "seconds"} if "learning_rate" not in line else {"step"}
    for key, value in line.items():
        if isinstance(value, dict):
            figures |= {f"{key}/{name}": float(each) for name, each in value.items()}
        elif isinstance(value, int | float) and key not in repeated:
            figures[key] = float(value)
    return figures
