"""The training loop: the same under Ray Train with DeepSpeed, in a Ray Tune trial, and alone in a process."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import torch

from models.training.batch import BatchPlan
from models.training.checkpoint import Checkpoints, Meta, write_file
from models.training.data import IGNORED
from models.training.engine import Batch, Engine, TorchEngine
from models.training.metrics import MetricsLog, StepRecord, peak_memory_bytes, threads_for
from models.training.prefetch import Prefetch
from models.training.reporter import Reporter
from models.training.schedule import learning_rate
from models.training.settings import TrainingSettings
from models.training.spec import CHECKPOINTS, FINAL_SUMMARY, FINAL_WEIGHTS, METRICS, TrainingSpec
from models.training.validation import Validation
from models.training.workers import Workers

if TYPE_CHECKING:
    from torch import nn


def train(spec: TrainingSpec, reporter: Reporter) -> dict[str, Any]:
    """Train in this worker, from the newest complete checkpoint on where there is one.

    Returns:
        the final figures (rank 0's are complete): `steps`, `tokens`, `loss`, `skipped_steps`, `tokens_per_second`,
        `seconds`, `checkpoint`, validation figures.

    Raises:
        RuntimeError: `max_bad_steps` steps in a row had a gradient that was not finite.
        ValueError: a checkpoint was written by another number of workers.
    """
    return _Run(spec, reporter).go()


def build_network(spec: TrainingSpec) -> nn.Module:
    """The network with fresh weights from the seed, or those of the Hugging Face directory."""
    from models.network import Transformer

    network = Transformer(spec.model, seed=spec.seed)
    if spec.initial_weights is not None:
        from models.network import import_model

        _, weights = import_model(spec.initial_weights)
        missing = network.load_state_dict(weights, strict=False)
        lost = [name for name in missing.missing_keys if not (name == "lm_head.weight" and spec.model.tied_embeddings)]
        if lost or missing.unexpected_keys:
            raise ValueError(f"{spec.initial_weights}: missing {lost}, unknown {missing.unexpected_keys}")
    return network


def build_engine(network: nn.Module, settings: TrainingSettings, workers: Workers, plan: BatchPlan) -> Engine:
    """The engine that the settings name."""
    if settings.engine == "torch":
        return TorchEngine(network, settings, workers.device)
    from models.training.deepspeed_engine import DeepSpeedEngine

    return DeepSpeedEngine(network, settings, workers.device, plan)


class _Run:
    """One worker's run of the loop."""

    def __init__(self, spec: TrainingSpec, reporter: Reporter) -> None:
        began = time.perf_counter()
        self.spec, self.reporter, self.settings, self.workers = spec, reporter, spec.training, reporter.workers
        threads_for(self.workers.device, self.settings.threads)
        self.plan = BatchPlan(
            self.settings.tokens_per_step, self.settings.sequence_length, self.settings.micro_batch, self.workers.world
        )
        self.engine = build_engine(build_network(spec), self.settings, self.workers, self.plan)
        self.data = spec.dataset_factory()
        self.validation = self._validation()
        self.step = self.skipped = self.skipped_in_a_row = 0
        self.seconds = 0.0
        self.checkpoint_seconds = self.validation_seconds = 0.0
        self.last: dict[str, Any] = {}
        self.record = StepRecord(self.workers)
        self.checkpoints = (
            Checkpoints(f"{spec.run_directory}/{CHECKPOINTS}", self.workers) if spec.run_directory else None
        )
        self.saved_location, self.saved_step = "", -1
        self._resume()
        self.resumed_from = self.step
        self.log = (
            MetricsLog(f"{spec.run_directory}/{METRICS}", self.step)
            if spec.run_directory and self.workers.first
            else None
        )
        self.setup_seconds = time.perf_counter() - began

    @property
    def tokens(self) -> int:
        return self.step * self.settings.tokens_per_step

    def go(self) -> dict[str, Any]:
        steps = self.settings.steps
        rungs = {max(1, round(tokens / self.settings.tokens_per_step)) for tokens in self.reporter.rungs}
        with Prefetch(self._batches, self.step, steps) as batches:
            for micro_batches in batches:
                self.record.start()
                self._train_step(micro_batches)
                due_rung = self.step in rungs
                if self.step % self.settings.log_every_steps == 0 or self.step == steps or due_rung:
                    self._flush()
                if self._due(self.settings.validate_every_steps) or due_rung or self.step == steps:
                    self._validate()
                if due_rung and not self.reporter.rung({**self.last, "tokens": self.tokens}):
                    break
                if self._due(self.settings.checkpoint_every_steps):
                    self._save()
        return self._finish()

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0 and self.step < self.settings.steps

    def _batches(self, step: int) -> list[Batch]:
        return [self.data.batch(ids) for ids in self.plan.micro_batches(step, self.workers.rank)]

    def _train_step(self, micro_batches: list[Batch]) -> None:
        mine = sum(int((batch["labels"] != IGNORED).sum()) for batch in micro_batches)
        targets = self.workers.sum(torch.tensor([float(mine)], device=self.workers.device))
        scale = 1.0 / targets.clamp(min=1.0)
        rate = learning_rate(self.settings, self.tokens + self.settings.tokens_per_step / 2)
        loss = torch.zeros((), device=self.workers.device)
        for batch in micro_batches:
            loss = loss + self.engine.forward_backward(batch, scale[0])
        outcome = self.engine.step(rate)
        self.step += 1
        norm = outcome.gradient_norm if math.isfinite(outcome.gradient_norm) else None
        line = {"step": self.step, "tokens": self.tokens, "learning_rate": rate, "gradient_norm": norm}
        if outcome.applied:
            self.skipped_in_a_row = 0
        else:
            self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1
            line["skipped"] = True
        self.record.add(line, loss, targets)
        if self.skipped_in_a_row >= self.settings.max_bad_steps:
            raise RuntimeError(
                f"{self.spec.name}: the gradients of {self.skipped_in_a_row} steps in a row, up to step {self.step}, "
                f"are not finite; lower training.learning_rate ({self.settings.learning_rate:g}) or look at the data"
            )

    def _flush(self) -> None:
        lines, elapsed = self.record.flush(self.settings.tokens_per_step, self.seconds)
        self.seconds += elapsed
        if lines:
            self.last = {key: value for key, value in self.last.items() if key.startswith("validation")} | lines[-1]
        if self.workers.first:
            if self.log:
                self.log.write(lines)
            self.reporter.steps(lines, self.step, self.settings.steps)

    def _validation(self) -> Validation | None:
        if self.spec.validation_factory is None or not self.settings.validation_sequences:
            return None
        return Validation(
            self.spec.validation_factory(),
            self.settings.validation_sequences,
            self.plan.micro_batch,
            self.spec.token_bytes,
            self.workers,
        )

    def _validate(self) -> None:
        if self.validation is None:
            return
        self._flush()
        began = time.perf_counter()
        figures = self.validation(self.engine)
        self.validation_seconds += time.perf_counter() - began
        self.last |= figures
        line = {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds, 3), **figures}
        if self.workers.first:
            if self.log:
                self.log.write([line])
            self.reporter.steps([line], self.step, self.settings.steps)

    def _resume(self) -> None:
        if self.checkpoints is None:
            return
        found = self.workers.from_first(self.checkpoints.newest() if self.workers.first else None)
        if self.workers.first:
            self.checkpoints.remove_incomplete()
        if found is None or not self.settings.resume:
            return
        location, meta = found
        if meta.world != self.workers.world:
            raise ValueError(
                f"{location} was written by {meta.world} workers, this run has {self.workers.world}: continue with "
                f"training.workers={meta.world}, or start anew with training.resume=false"
            )
        self.checkpoints.load(location, self.engine.load)
        self.step, self.skipped, self.seconds = meta.step, meta.skipped, meta.seconds
        self.saved_location, self.saved_step = location, meta.step
        self.reporter.resumed(location, self.checkpoints)

    def _save(self) -> None:
        if self.checkpoints is None or self.saved_step == self.step:
            return
        self._flush()
        began = time.perf_counter()
        meta = Meta(
            step=self.step,
            tokens=self.tokens,
            samples=self.step * self.plan.sequences,
            skipped=self.skipped,
            seconds=self.seconds,
            world=self.workers.world,
            run=self.spec.run,
        )
        self.saved_location, self.saved_step = self.checkpoints.save(meta, self.engine.save), self.step
        if self.log:
            self.log.sync()
        figures = {key: value for key, value in self.last.items() if isinstance(value, int | float)}
        self.reporter.committed(self.saved_location, figures, self.checkpoints, self.settings.keep_checkpoints)
        self.checkpoint_seconds += time.perf_counter() - began

    def _finish(self) -> dict[str, Any]:
        if not self.last and self.validation is not None:
            self._validate()
        self._save()
        weights = self.engine.state_dict() if self.spec.run_directory else {}
        summary = {
            **{key: value for key, value in self.last.items() if key not in ("step", "gradient_norm", "skipped")},
            "steps": self.step,
            "tokens": self.tokens,
            "skipped_steps": self.skipped,
            "resumed_from_step": self.resumed_from,
            "tokens_per_second": self.tokens / self.seconds if self.seconds else 0.0,
            "seconds": self.seconds,
            "setup_seconds": self.setup_seconds,
            "checkpoint_seconds": self.checkpoint_seconds,
            "validation_seconds": self.validation_seconds,
            "peak_memory_bytes_rank_0": peak_memory_bytes(),
            "workers": self.workers.world,
            "checkpoint": self.saved_location,
            "run": self.spec.run,
        }
        if self.spec.run_directory and self.workers.first:
            from safetensors.torch import save

            write_file(f"{self.spec.run_directory}/{FINAL_WEIGHTS}", save(weights, metadata={"format": "pt"}))
            write_file(f"{self.spec.run_directory}/{FINAL_SUMMARY}", json.dumps(summary, indent=1).encode())
            if self.log:
                self.log.sync()
        return summary
