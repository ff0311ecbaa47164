"""Our sides of the speed part: the training loop alone with either engine, and under Ray Train with two workers."""

from __future__ import annotations

import json
import os
import tempfile
import time
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import Any

from models.training.reporter import AloneReporter
from models.training.settings import TrainingSettings
from models.training.spec import METRICS, TrainingSpec
from tests.benchmarks.training import task

OPTIONS: dict[str, dict[str, Any]] = {
    "D": {"engine": "torch"},
    "E": {"engine": "deepspeed"},
    "F": {"engine": "deepspeed", "workers": 2},
    "checkpointed": {"engine": "torch", "checkpoint_activations": True},
    "documents": {"engine": "torch"},
}


def settings(name: str, warm: int, steps: int, threads: int, zero: int) -> TrainingSettings:
    """The run of a side: `warm` steps, then `steps` that are measured. Figures come at the end of each `warm` steps."""
    options = OPTIONS[name]
    workers = options.get("workers", 1)
    return TrainingSettings(
        tokens=(warm + steps) * task.ROWS * task.LENGTH,
        tokens_per_step=task.ROWS * task.LENGTH,
        sequence_length=task.LENGTH,
        micro_batch=task.ROWS,
        learning_rate=task.LEARNING_RATE,
        beta1=task.BETAS[0],
        beta2=task.BETAS[1],
        weight_decay=task.WEIGHT_DECAY,
        clip=task.CLIP,
        schedule="constant",
        warmup_fraction=0.0,
        zero_stage=zero,
        threads=threads // workers,
        log_every_steps=warm,
        device="cpu",
        resume=False,
        **options,
    )


class Watch(AloneReporter):
    """Takes times and memory from outside the loop, at the end of the warm-up and of the run."""

    def __init__(self, warm: int) -> None:
        super().__init__()
        self.warm, self.began, self.seconds, self.figures = warm, 0.0, 0.0, {}

    def phase(self, name: Any) -> None:
        """See `Reporter`."""
        if name == "training" and not self.figures:
            self.figures["before"] = task.held()

    def steps(self, lines: list[dict[str, Any]], steps_done: int, steps: int, seconds_left: float | None) -> None:
        """See `Reporter`."""
        if steps_done == self.warm:
            self.began = time.perf_counter()
        elif steps_done == steps:
            self.seconds = time.perf_counter() - self.began
            self.figures["peak"] = task.peak()


def alone(name: str, store: str, warm: int, steps: int, threads: int, zero: int) -> dict[str, float]:
    """D and E."""
    from models.training.loop import train

    if OPTIONS[name]["engine"] == "deepspeed":
        from tests.benchmarks.training.theirs import alone as process_group

        process_group()
        import_module("models.training.deepspeed_engine")
    # What is imported is no part of the memory measured.
    import_module("models.network.transformer")
    watch, start = Watch(warm), task.held()
    data = task.data(store)
    with tempfile.TemporaryDirectory() as run:
        train(
            TrainingSpec(
                model=task.SHAPE,
                initial_weights=None,
                training=settings(name, warm, steps, threads, zero),
                dataset_factory=data if name == "documents" else task.WholeRows(data),
                validation_factory=None,
                token_bytes=None,
                run_directory=run,
                name=name,
                seed=task.SEED,
            ),
            watch,
        )
        figures = of_metrics(Path(run), warm)
    figures["loop_seconds"], figures["seconds"] = figures["seconds"], watch.seconds
    return figures | watch.figures | {"start": start}


def of_metrics(run: Path, warm: int) -> dict[str, float]:
    """Seconds by the loop's own clock and the wait for data, of the steps after the warm-up; the last loss."""
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    lines = [line for line in lines if "loss" in line and "seconds" in line]
    waits = [line["data_wait_share"] for line in lines if line["step"] > warm and "data_wait_share" in line]
    seconds = {line["step"]: line["seconds"] for line in lines}
    return {
        "seconds": max(seconds.values()) - seconds[warm],
        "data_wait": fmean(waits),
        "loss": lines[-1]["loss"],
    }


def on_ray(name: str, store: str, warm: int, steps: int, threads: int, zero: int) -> dict[str, float]:
    """F."""
    from jobs import job

    os.environ.pop("RAY_ADDRESS", None)
    job.authenticate()
    job.connect()
    from models.training.run import fit

    with tempfile.TemporaryDirectory() as run:
        fit(
            model=task.SHAPE,
            initial_weights=None,
            training=settings(name, warm, steps, threads, zero),
            dataset_factory=task.WholeRows(task.data(store)),
            validation_factory=None,
            token_bytes=None,
            run_directory=run,
            name=name,
            seed=task.SEED,
        )
        return of_metrics(Path(run), warm)
