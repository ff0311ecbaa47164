"""The seam between the loop and what runs it: Ray Train, a Ray Tune trial, or nothing.

The loop is the same under all of them; a reporter tells it who its workers are and takes what it has to tell.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch

from models.training.gauges import StepGauges
from models.training.spec import PROGRESS
from models.training.stopping import StopRequests
from models.training.storage import read_file, write_file
from models.training.workers import Workers

_PROGRESS_SECONDS = 1.0
_STUCK = 75
"""Exit status of a worker that ended itself because nothing moved; EX_TEMPFAIL of sysexits.h."""
Phase = Literal["starting", "training", "validating", "saving"]


class Reporter(Protocol):
    """Who runs the loop."""

    workers: Workers
    rungs: Sequence[int]
    """Token counts at which the loop validates and calls `rung`."""
    last_told: dict[str, Any]
    """What the attempt before this one told last: `steps`, `time`; empty: there was none. On rank 0."""

    def phase(self, name: Phase) -> None:
        """What the run does from now on; on rank 0."""

    def steps(self, lines: list[dict[str, Any]], steps_done: int, steps: int, seconds_left: float | None) -> None:
        """New metric lines, on rank 0."""

    def say(self, message: str) -> None:
        """Something that a person should know of; on rank 0."""

    def rung(self, figures: dict[str, Any]) -> bool:
        """A rung was reached; False stops the run here."""

    def committed(self, location: str, figures: dict[str, float]) -> None:
        """A checkpoint is complete; called by all workers."""

    def resumed(self, location: str) -> None:
        """The run continues from there; called by all workers."""

    def notice(self) -> float | None:
        """When machines of this run are to be taken away (milliseconds since 1970; 0: nobody says); None: not known of.

        On rank 0, before each step: it must not wait for anybody.
        """

    def stuck(self, message: str) -> None:
        """Nothing moves in this worker; ends its process where somebody starts it anew."""


class AloneReporter:
    """One process that nobody runs: notebooks, tests.

    Args:
        device: where it computes.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.workers = Workers(given_device=device)
        self.rungs: Sequence[int] = ()
        self.last_told: dict[str, Any] = {}

    def phase(self, name: Phase) -> None:
        """Nobody to tell."""

    def steps(self, lines: list[dict[str, Any]], steps_done: int, steps: int, seconds_left: float | None) -> None:
        """Nobody to tell."""

    def say(self, message: str) -> None:
        """Print it."""
        print(message, flush=True)

    def rung(self, figures: dict[str, Any]) -> bool:
        """Always goes on."""
        return True

    def committed(self, location: str, figures: dict[str, float]) -> None:
        """Nobody to tell."""

    def resumed(self, location: str) -> None:
        """Nobody to tell."""

    def notice(self) -> float | None:
        """Nobody to ask."""
        return None

    def stuck(self, message: str) -> None:
        """Print it: a notebook's process is not ours to end."""
        print(message, flush=True)


class TrainReporter:
    """A Ray Train worker: checkpoints are registered with Ray, figures become gauges and a progress file.

    Checkpoints are written by us and registered when they are complete, so Ray never knows of one that is not.

    `progress.json` holds `phase`, `workers`, `processes` (node and process id of each rank), `time`, and once steps
    are done `steps`, `of`, `seconds_left` and the newest metrics line (`loss`, `tokens_per_second`, …); the driver,
    `jobs.status` and `jobs.faults` read it.

    Args:
        run_directory: where `progress.json` goes.
        name: the run's name, a tag of the gauges and the beginning of what is said.
    """

    def __init__(self, run_directory: str, name: str) -> None:
        import ray
        import ray.train
        from ray.train.torch import get_device

        context = ray.train.get_context()
        self.workers = Workers(context.get_world_rank(), context.get_world_size(), get_device())
        self.rungs: Sequence[int] = ()
        self._progress, self._written, self._name = f"{run_directory}/{PROGRESS}", 0.0, name
        self._stop_requests = StopRequests(run_directory) if self.workers.first else None
        self.last_told: dict[str, Any] = json.loads(read_file(self._progress) or b"{}") if self.workers.first else {}
        here = (ray.get_runtime_context().get_node_id(), os.getpid())
        self._state: dict[str, Any] = {"workers": self.workers.world, "processes": self.workers.everyone(here)}
        self._gauges = StepGauges(name) if self.workers.first else None
        if self.workers.first:
            self.phase("starting")

    def phase(self, name: Phase) -> None:
        """Write it into the progress file."""
        if self._state.get("phase") != name:
            self._state["phase"] = name
            self._write()

    def steps(self, lines: list[dict[str, Any]], steps_done: int, steps: int, seconds_left: float | None) -> None:
        """Set the gauges; write the progress file at most once a second."""
        if not lines:
            return
        if self._gauges:
            self._gauges.set(lines)
        # Figures that a line lacks, or that are not finite in it, stay what they were.
        told = {key: value for key, value in lines[-1].items() if value is not None}
        new = {key: value for key, value in told.items() if key not in ("step", "skipped", "bad")}
        self._state |= {"steps": steps_done, "of": steps, "seconds_left": seconds_left, **new}
        if time.monotonic() - self._written >= _PROGRESS_SECONDS or steps_done == steps:
            self._write()

    def say(self, message: str) -> None:
        """Print it: Ray shows it in the driver's output."""
        print(f"{self._name}: {message}", flush=True)

    def _write(self) -> None:
        self._written = time.monotonic()
        # Storage that refuses does not stop the run: this is written again in a second.
        with contextlib.suppress(OSError):
            write_file(self._progress, json.dumps({**self._state, "time": round(time.time(), 3)}).encode())

    def rung(self, figures: dict[str, Any]) -> bool:
        """Ray Train has no rungs."""
        return True

    def committed(self, location: str, figures: dict[str, float]) -> None:
        """Register it with Ray."""
        self._register(location, figures)

    def resumed(self, location: str) -> None:
        """Register it, in case that the crash came between its marker and its registration."""
        import ray.train

        known = ray.train.get_checkpoint()
        name = os.path.basename(location)
        if self.workers.from_first(known is None or os.path.basename(known.path) != name):
            self._register(location, {})

    def notice(self) -> float | None:
        """What Ray marks all workers with when a node of theirs drains; and when the driver was told to stop.

        Ray's own question, `get_preemption_info`, is a barrier through an actor; the loop has one of its own.
        """
        from ray.train.v2._internal.execution.context import get_train_context

        if self._stop_requests is not None and self._stop_requests.asked is not None:
            return self._stop_requests.asked
        info = get_train_context().preemption_context.preemption_info
        return None if info is None else float(info.deadline_ms or 0)

    def stuck(self, message: str) -> None:
        """Say it and end the process: Ray starts the group again."""
        print(f"{self._name}: rank {self.workers.rank}: {message}", file=sys.stderr, flush=True)
        os._exit(_STUCK)

    def _register(self, location: str, figures: dict[str, float]) -> None:
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

    def say(self, message: str) -> None:
        """A search has too many trials for that."""

    def rung(self, figures: dict[str, Any]) -> bool:
        """Report to Tune; the run ends here."""
        from ray import tune

        values = {key: value for key, value in figures.items() if isinstance(value, int | float)}
        loss = values.get("validation_loss", values.get("loss", math.inf))
        diverged = not math.isfinite(loss) or loss >= self._diverged_above
        objective = values.get("validation_bits_per_byte", loss)
        tune.report({**values, "objective": self._diverged if diverged else objective, "diverged": diverged})
        return False
