"""`fit`: train a network on the Ray cluster, to a checkpoint."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.training.asking import asked_for, resources_of_a_worker
from models.training.checkpoint import MARKER
from models.training.conversion import weights
from models.training.data import Dataset
from models.training.gauges import RunGauges
from models.training.journal import read_journal
from models.training.same_run import Identity, identity, make_room
from models.training.settings import TrainingSettings
from models.training.spec import CHECKPOINTS, FINAL_SUMMARY, PROGRESS, TrainingSpec
from models.training.stopping import stops_with_checkpoint
from models.training.storage import read_file
from pipelines.tokens.reach import within_reach

if TYPE_CHECKING:
    from torch import Tensor

    from models.network import ModelSettings
    from models.training.elastic import Trainer


@dataclass(frozen=True)
class TrainingResult:
    """What training leaves.

    Attributes:
        metrics: final figures (`loss`, `tokens_per_second`, `seconds`, and with validation data `validation_loss`,
            `validation_bits_per_byte`, `validation` by source, and in `validation_before` the same of
            `initial_weights`).
        checkpoint: directory of the newest committed checkpoint.
        steps: optimizer steps taken, those before a resume included.
        tokens: tokens seen.
    """

    metrics: dict[str, Any]
    checkpoint: str
    steps: int
    tokens: int

    def weights(self) -> dict[str, Tensor]:
        """Final weights in fp32 on the CPU, under Hugging Face names."""
        return weights(self.checkpoint)


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
    tokenizer_json: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> TrainingResult:
    """Train with Ray Train; call `jobs.job.connect()` first.

    A run that was cut short continues from its newest committed checkpoint when `fit` is called again with the same
    `run_directory`. Checkpoints of another run that are there are set aside (`same_run`), or where `training.resume` is
    False removed. The factories are pickled and called in every worker.

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
        tokenizer_json: the content of the tokenizer's file; texts that the network writes need it.
        labels: of the nodes its workers run on, as Ray's label selectors; none: any.

    Raises:
        DamagedError: there are checkpoints, and none of them can be read.
        OtherRunError: there are checkpoints of another run, on an object store.
        RuntimeError: training failed more than `training.max_failures` times, with the worker's last error.
        TooFewError: `training.device` is gpu, and the cluster never has enough of them.
    """
    run_directory = run_directory.rstrip("/")
    run = identity(model, initial_weights, training, dataset_factory(), seed)
    if (finished := _finished(run_directory, run, training)) is not None:
        return finished
    resources = resources_of_a_worker(training, name)
    if told := make_room(run_directory, run, training.resume):
        print(f"{name}: {told}", flush=True)
    spec = TrainingSpec(
        model=model,
        initial_weights=initial_weights,
        # What is not to be continued is gone by now; a group that starts again goes on.
        training=training.model_copy(update={"resume": True}),
        dataset_factory=dataset_factory,
        validation_factory=validation_factory,
        token_bytes=token_bytes,
        run_directory=run_directory,
        name=name,
        seed=seed,
        run=run.fingerprint,
        tokenizer_json=tokenizer_json,
    )
    # The controller looks at its workers this often: it is also the least time between two checkpoints' reports.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    if training.elastic:
        # Of a machine that is gone Ray knows late: the first try may count on it. What is there is ready at once.
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "15")
    # A notice that a machine is about to go leaves little time.
    os.environ.setdefault("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "1")
    # `jobs.status` shows runs and their workers.
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "1")
    wanted = f"{training.fewest_workers} workers with {resources} each"
    if labels:
        wanted += f" on nodes with {dict(labels)}"
    no_room = f"{name}: the cluster has no room yet for {wanted}"
    if "GPU" in resources and (there := within_reach("GPU")) < training.fewest_workers:
        no_room += f"; GPUs that it has or is known to bring: {there:g}"
    with asked_for(training.fewest_workers, resources, labels) as asked:
        trainer = _trainer(spec, resources, labels, asked)
        gauges = RunGauges(run_directory, name)
        with _watch(run_directory, gauges, progress, no_room), stops_with_checkpoint(run_directory, name):
            try:
                trainer.fit()
            except Exception as error:  # Ray Train's errors have no common base
                raise RuntimeError(f"{name}: training failed: {error}") from error
    result = _finished(run_directory, run, training)
    if result is None:
        raise RuntimeError(f"{run_directory}/{FINAL_SUMMARY}: not written, though training ended without an error")
    return result


def _trainer(spec: TrainingSpec, resources: dict[str, float], labels: Mapping[str, str] | None, asked: Any) -> Trainer:
    """Ray's trainer for a run; its modules take a second to import.

    Args:
        spec: of the run.
        resources: of each worker.
        labels: of its nodes.
        asked: the room asked for by now.
    """
    from ray.train.v2.api.config import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig

    from models.training.elastic import Trainer
    from models.training.process_group import ProcessGroup

    training, run_directory = spec.training, spec.run_directory
    assert run_directory is not None
    elastic = (training.fewest_workers, training.most_workers)
    return Trainer(
        _worker,
        run_directory=run_directory,
        checkpoints=f"{run_directory}/{CHECKPOINTS}",
        asked=asked,
        train_loop_config={"spec": spec},
        backend_config=ProcessGroup("nccl" if "GPU" in resources else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=elastic if training.elastic else training.most_workers,
            use_gpu="GPU" in resources,
            resources_per_worker=resources,
            elastic_resize_monitor_interval_s=_ROOM_SECONDS,
            label_selector=dict(labels) if labels else None,
        ),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=run_directory,
            failure_config=FailureConfig(
                max_failures=training.max_failures, max_preemption_failures=training.max_preemptions
            ),
            # Which checkpoints stay is our business (`Checkpoints`): Ray knows of no milestones.
            checkpoint_config=CheckpointConfig(num_to_keep=None),
            # The run's own lines and its journal tell these things; Ray keeps all of its own in its session's logs.
            logging_config=LoggingConfig(log_level="WARNING"),
            worker_runtime_env={} if "GPU" in resources else {"env_vars": _ONE_ARENA},
        ),
    )


def _worker(config: dict[str, Any]) -> None:
    spec: TrainingSpec = config["spec"]
    assert spec.run_directory is not None
    from ray.train.v2._internal.execution import context

    from models.training.loop import train
    from models.training.reporter import TrainReporter

    # Named after its file, it escapes `LoggingConfig`: a line a checkpoint and worker with all figures.
    logging.getLogger(context.__file__).setLevel(logging.WARNING)
    train(spec, TrainReporter(spec.run_directory, spec.name))


_ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
"""Ray Train trains in a thread. glibc gives threads arenas whose heaps of 64 MB go back to the system whenever they are
empty, whatever `engine.keep_freed_memory` asks for; the first arena keeps them. It is read as a process begins."""
_ROOM_SECONDS = 5.0
"""So often an elastic run looks whether the cluster has room for more workers."""
_SHOWN_SECONDS = 10.0
"""So often the driver's gauges are set: as often as Ray hands them on."""
_WAITING_SECONDS = 30.0
"""So long a run waits for workers before it says so."""
_GANG = ("starting", "failure", "no_room", "resize")
"""Events that say whether the workers are there."""


def _finished(run_directory: str, run: Identity, training: TrainingSettings) -> TrainingResult | None:
    """The result of this very run, if it ended, and was validated as these settings ask for."""
    summary_bytes = read_file(f"{run_directory}/{FINAL_SUMMARY}")
    if summary_bytes is None:
        return None
    summary = json.loads(summary_bytes)
    if not run.is_named(summary.get("run")) or read_file(f"{summary['checkpoint']}/{MARKER}") is None:
        return None
    if summary.get("validation_sequences", training.validation_sequences) != training.validation_sequences:
        return None
    return TrainingResult(
        metrics={k: v for k, v in summary.items() if k not in ("checkpoint", "run", "validation_sequences")},
        checkpoint=summary["checkpoint"],
        steps=summary["steps"],
        tokens=summary["tokens"],
    )


@contextlib.contextmanager
def _watch(
    run_directory: str, gauges: RunGauges, progress: Callable[[int, int, str], None] | None, no_room: str
) -> Iterator[None]:
    """Hand what the workers write about their progress to `progress`, and to the gauges, while the block runs.

    Args:
        run_directory: of the run.
        gauges: of the run.
        progress: see `fit`; None: nobody is told.
        no_room: said again and again as long as there are no workers, at the begin or after a failure.
    """
    stop, seen = threading.Event(), -1
    location = f"{run_directory}/{PROGRESS}"
    began = told = time.time()
    # An object store may give parts of two versions of what is written meanwhile: the next look finds it whole.
    unsettled = contextlib.suppress(ValueError, OSError)

    def look() -> None:
        nonlocal seen, told
        content = json.loads(read_file(location) or b"{}")
        steps = content.get("steps", -1)
        if progress is not None and steps != seen and "loss" in content:
            seen = steps
            note = f"loss {content['loss']:.3f}, {content['tokens_per_second']:,.0f} tokens/s"
            progress(steps, content["of"], note)
            told = time.time()

    def waits() -> bool:
        since = [event["event"] for event in read_journal(run_directory) if event["time"] > began]
        turns = [event for event in since if event in _GANG]
        return not turns or turns[-1] != "starting"

    def watch() -> None:
        nonlocal told
        shown = 0.0
        while not stop.wait(1.0):
            if time.monotonic() - shown >= _SHOWN_SECONDS:
                shown = time.monotonic()
                gauges.set()
            with unsettled:
                look()
                if progress is not None and time.time() - told > _WAITING_SECONDS:
                    told = time.time()
                    if waits():
                        print(no_room, flush=True)

    thread = threading.Thread(target=watch, name="training-progress", daemon=True)
    thread.start()
    try:
        yield
        with unsettled:
            look()
    finally:
        stop.set()
        thread.join()
        gauges.set()
