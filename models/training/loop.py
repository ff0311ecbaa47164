"""The training loop: the same under Ray Train with DeepSpeed, in a Ray Tune trial, and alone in a process."""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from models.training.batch import BatchPlan
from models.training.checkpoint import Meta, write_file
from models.training.data import IGNORED
from models.training.engine import Batch, Engine, TorchEngine
from models.training.guard import DivergedError, Guard, Streak, described
from models.training.metrics import StepRecord, peak_memory_bytes, threads_for
from models.training.prefetch import Prefetch
from models.training.records import Records
from models.training.reporter import Reporter
from models.training.samples import SampleWriter
from models.training.saving import Saving
from models.training.schedule import learning_rate
from models.training.settings import TrainingSettings
from models.training.spec import FINAL_SUMMARY, TrainingSpec
from models.training.trackers import check
from models.training.validation import Validation
from models.training.workers import Workers

if TYPE_CHECKING:
    from models.network import Transformer


def train(spec: TrainingSpec, reporter: Reporter) -> dict[str, Any]:
    """Train in this worker, from the newest complete checkpoint on where there is one.

    Returns:
        the final figures (rank 0's are complete): `steps`, `tokens`, `loss`, `skipped_steps`, `tokens_per_second`,
        `seconds`, `checkpoint`, validation figures.

    Raises:
        DivergedError: too many bad steps in a row, and no return to a checkpoint is left.
        RuntimeError: the last checkpoint could not be written, or a tracker's package is missing.
        ValueError: a checkpoint was written by another number of workers.
    """
    return _Run(spec, reporter).go()


def build_network(spec: TrainingSpec) -> Transformer:
    """The network with fresh weights from the seed, or those that it starts from."""
    from models.network import Transformer

    network = Transformer(spec.model, seed=spec.seed)
    if spec.initial_weights is not None:
        from models.training.start import Start

        network.load_state_dict(Start.of(spec.initial_weights).weights(spec.model), strict=False)
    return network


def build_engine(network: Transformer, settings: TrainingSettings, workers: Workers, plan: BatchPlan) -> Engine:
    """The engine that the settings name."""
    if settings.engine == "torch":
        return TorchEngine(network, settings, workers.device)
    from models.training.deepspeed_engine import DeepSpeedEngine

    return DeepSpeedEngine(network, settings, workers.device, plan)


@dataclass(frozen=True)
class _Work:
    """A step of one worker.

    Attributes:
        batches: its micro batches.
        counts: float64 [2], their targets and the bytes that these stand for; where workers share sequences, only
            the first one counts.
    """

    batches: list[Batch]
    counts: Tensor


class _Run:
    """One worker's run of the loop."""

    def __init__(self, spec: TrainingSpec, reporter: Reporter) -> None:
        began = time.perf_counter()
        self.spec, self.reporter, self.settings, self.workers = spec, reporter, spec.training, reporter.workers
        self.first, self.device = self.workers.first, self.workers.device
        if self.first:
            check(self.settings.trackers)
        threads_for(self.device, self.settings.threads)
        self.plan = BatchPlan.of(self.settings, self.workers.world)
        self.steps = self.plan.steps
        self.writer = self._sample_writer()
        self.engine = build_engine(build_network(spec), self.settings, self.workers, self.plan)
        self.data = spec.dataset_factory()
        self.validation = self._validation()
        self.guard, self.streak = Guard(self.settings.guard, self.device), Streak(self.settings.guard.bad_steps)
        self.step = self.skipped = self.skipped_samples = self.rollbacks = 0
        self.seconds = 0.0
        self.last: dict[str, Any] = {}
        self.record = StepRecord(self.workers, spec.model.flops_per_token(self.settings.sequence_length))
        every = range(self.steps.total)
        # After these steps the rate is that of a decay's end; the next one has the full rate again.
        self.decayed = {bisect_left(every, float(tokens), key=self._middle) for tokens in self.settings.decays_at}
        self.rungs = {max(1, bisect_left(every, tokens, key=self.steps.tokens_before)) for tokens in reporter.rungs}
        self.saving = Saving(spec, reporter)
        self._resume()
        self.resumed_from = self.step
        self.records = Records(spec, reporter, self.step)
        self.setup_seconds = time.perf_counter() - began

    def go(self) -> dict[str, Any]:
        self.began = time.perf_counter()
        try:
            while self._train():
                self._go_back()
            return self._finish()
        finally:
            self.records.close()

    @property
    def tokens(self) -> int:
        return self.steps.tokens_before(self.step)

    def _middle(self, step: int) -> float:
        """Tokens seen in the middle of a step."""
        return (self.steps.tokens_before(step) + self.steps.tokens_before(step + 1)) / 2

    def _train(self) -> bool:
        """Train to the end; True: there were too many bad steps in a row."""
        settings, total = self.settings, self.steps.total
        with Prefetch(self._work, self.step, total) as ready:
            self.records.phase("training")
            works = iter(ready)
            while self.step < total:
                with self.record.phase("data", stands=False):
                    work = next(works)
                self.record.start()
                self._step(work)
                rung, ends = self.step in self.rungs, self.step == total
                validates = rung or ends or self._due(settings.validate_every_steps) or self.step in self.decayed
                writes = ends or self._due(settings.samples.every_steps)
                saves = not ends and (self._due(settings.checkpoint_every_steps) or self.step in self.decayed)
                if not (self._due(settings.log_every_steps) or validates or writes or saves):
                    continue
                if self._flush():
                    return True
                if validates:
                    self._validate()
                if rung and not self.reporter.rung({**self.last, "tokens": self.tokens}):
                    break
                if writes:
                    self._write()
                if saves:
                    self._save()
        return False

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _work(self, step: int) -> _Work:
        ids = self.plan.micro_batches(step, self.workers.rank, self.skipped_samples)
        batches = [self.data.batch(each) for each in ids]
        counts = torch.zeros(2, dtype=torch.float64)
        if self.workers.rank % self.settings.sequence_parallel == 0:
            for batch in batches:
                targets = batch["labels"][batch["labels"] != IGNORED]
                counts[0] += targets.size
                if self.spec.token_bytes is not None:
                    counts[1] += int(self.spec.token_bytes[targets].sum())
        if self.device.type == "cuda":
            # From pinned memory, copies to the GPU hold nothing up.
            batches = [{name: _pinned(values) for name, values in batch.items()} for batch in batches]
            counts = counts.pin_memory()
        return _Work(batches, counts)

    def _step(self, work: _Work) -> None:
        if self.step in self.decayed:
            self.guard.forget()
        record, rate = self.record, learning_rate(self.settings, self._middle(self.step))
        record.mark("")
        counts = self.workers.sum(work.counts.to(self.device, non_blocking=True))
        targets = counts[0].clamp(min=1.0)
        scale = targets.reciprocal().float()
        record.mark("workers")
        nats = torch.zeros((), device=self.device)
        for number, batch in enumerate(work.batches, 1):
            nats = nats + self.engine.forward_backward(batch, scale, number == len(work.batches))
        record.mark("forward_backward")
        total = self.workers.sum(nats.double().reshape(1))
        loss = total[0] / targets
        record.mark("workers")
        outcome = self.engine.step(rate, self.guard.judge(loss))
        record.mark("optimizer")
        norm, applied = outcome.gradient_norm.double(), outcome.applied
        values = torch.cat([total, counts, torch.stack([norm, applied.double()]), self.guard.limits])
        self.guard.add(loss, norm, applied)
        before = self.tokens
        self.step += 1
        record.add({"step": self.step, "tokens": self.tokens, "learning_rate": rate}, values, self.tokens - before)

    def _flush(self) -> bool:
        """Look at the steps since the last time; True: too many in a row were bad."""
        lines, elapsed = self.record.flush(self.seconds)
        self.seconds += elapsed
        too_many = self.streak.add(lines)
        if lines:
            self.skipped += sum("skipped" in line for line in lines)
            lines[-1]["skipped_steps"] = self.skipped
            good = [line["loss"] for line in lines if "bad" not in line]
            kept = {key: value for key, value in self.last.items() if key.startswith("validation") or key == "loss"}
            self.last = kept | lines[-1] | ({"loss": good[-1]} if good else {})
            self._tell(lines)
        if bad := [line for line in lines if "bad" in line]:
            self.records.say(f"bad steps: {described(bad)}")
        self.saving.settle(self.step, self.records)
        return too_many

    def _tell(self, lines: list[dict[str, Any]]) -> None:
        done = self.tokens - self.steps.tokens_before(self.resumed_from)
        left = self.steps.tokens_before(self.steps.total) - self.tokens
        seconds = round((time.perf_counter() - self.began) * left / done, 1) if done > 0 else None
        self.records.add(lines, self.step, self.steps.total, seconds)

    def _validation(self) -> Validation | None:
        if self.spec.validation_factory is None or not self.settings.validation_sequences:
            return None
        return Validation(
            self.spec.validation_factory(),
            self.settings.validation_sequences,
            self.settings.micro_batch,
            self.spec.token_bytes,
            self.workers,
            self.settings.sequence_parallel,
        )

    def _validate(self) -> None:
        if self.validation is None:
            return
        self.records.phase("validating")
        with self.record.phase("validation"):
            figures = self.validation(self.engine)
        self.last |= figures
        self._tell([{"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds, 3), **figures}])
        self.records.phase("training")

    def _sample_writer(self) -> SampleWriter | None:
        samples, model = self.settings.samples, self.spec.model
        if not samples.prompts:
            return None
        if self.spec.tokenizer_json is None or model.architecture != "decoder" or self.settings.sequence_parallel > 1:
            raise ValueError("training.samples.prompts: needs a tokenizer, a decoder and sequence_parallel 1")
        return SampleWriter(samples, self.spec.tokenizer_json, model.maximum_positions, self.spec.seed)

    def _write(self) -> None:
        if self.writer is None:
            return
        with self.record.phase("samples"):
            self.records.texts(self.writer(self.engine.network, self.device, self.step))

    def _resume(self) -> None:
        found = self.saving.newest(self.settings.resume)
        if found is None:
            return
        location, meta = found
        self.skipped_samples, self.rollbacks, self.seconds = meta.skipped_samples, meta.rollbacks, meta.seconds
        self._restore(location, meta)
        self.streak.lines = meta.guard["streak"]
        self.reporter.resumed(location)

    def _restore(self, location: str, meta: Meta) -> None:
        self.saving.load(location, meta, self.engine.load)
        self.step, self.skipped = meta.step, meta.skipped
        self.guard.restore(meta.guard["window"])

    def _go_back(self) -> None:
        """Go on from the newest checkpoint before the bad steps, past the samples that came since then."""
        bad = self.streak.lines
        since, until = (
            self.steps.samples_before(step) + self.skipped_samples for step in (bad[0]["step"] - 1, bad[-1]["step"])
        )
        diagnosis = f"{len(bad)} bad steps in a row, samples {since} to {until - 1}: {described(bad)}"
        left = self.rollbacks < self.settings.guard.rollbacks
        found = self.saving.before(bad[0]["step"], self.records) if left else None
        if found is None:
            tried = "no checkpoint to go back to" if left else f"after {self.rollbacks} returns to a checkpoint"
            raise DivergedError(
                f"{self.spec.name}: {diagnosis}; {tried}; lower training.learning_rate "
                f"({self.settings.learning_rate:g}), or look at these samples"
            )
        cursor = self.steps.samples_before(self.step)
        self._restore(*found)
        past = cursor - self.steps.samples_before(self.step)
        self.skipped_samples, self.rollbacks = self.skipped_samples + past, self.rollbacks + 1
        self.streak.lines = []
        self.record.stop()
        self.records.rewind(self.step)
        # A line of the step that is done again: a continuation from this very checkpoint goes back anew.
        self.records.event(
            self.step + 1,
            "rollback",
            f"back to step {self.step}, past {past} samples: {diagnosis}",
            rollbacks=self.rollbacks,
            skipped_samples=self.skipped_samples,
        )

    def _save(self) -> None:
        self.records.phase("saving")
        with self.record.phase("checkpoint"):
            meta = Meta(
                step=self.step,
                tokens=self.tokens,
                samples=self.steps.samples_before(self.step) + self.skipped_samples,
                skipped=self.skipped,
                seconds=self.seconds,
                world=self.workers.world,
                run=self.spec.run,
                skipped_samples=self.skipped_samples,
                rollbacks=self.rollbacks,
                zero_stage=self.settings.zero_stage,
                engine=self.settings.engine,
                guard={"window": self.guard.state(), "streak": self.streak.lines},
            )
            figures = {key: value for key, value in self.last.items() if isinstance(value, int | float)}
            self.saving.save(meta, self.engine.save, figures, self.records)
            self.records.sync()
        self.records.phase("training")

    def _finish(self) -> dict[str, Any]:
        if not self.last:
            self._validate()
        self._save()
        with self.record.phase("checkpoint"):
            self.saving.finish(self.step, self.records)
        totals = self.record.totals
        left_out = ("step", "gradient_norm", "skipped", "bad", "phase_seconds")
        summary = {
            **{key: value for key, value in self.last.items() if key not in left_out},
            "steps": self.step,
            "tokens": self.tokens,
            "skipped_steps": self.skipped,
            "skipped_samples": self.skipped_samples,
            "rollbacks": self.rollbacks,
            "resumed_from_step": self.resumed_from,
            "tokens_per_second": self.tokens / self.seconds if self.seconds else 0.0,
            "seconds": self.seconds,
            "setup_seconds": self.setup_seconds,
            "data_wait_seconds": totals.get("data", 0.0),
            "checkpoint_seconds": totals.get("checkpoint", 0.0),
            "validation_seconds": totals.get("validation", 0.0),
            "peak_memory_bytes_rank_0": peak_memory_bytes(),
            "workers": self.workers.world,
            "checkpoint": self.saving.location,
            "run": self.spec.run,
        }
        if self.spec.run_directory and self.first:
            write_file(f"{self.spec.run_directory}/{FINAL_SUMMARY}", json.dumps(summary, indent=1).encode())
            self.records.sync()
        return summary


def _pinned(values: np.ndarray) -> np.ndarray:
    """The same numbers in pinned memory, as the wide integers that the network takes."""
    return torch.from_numpy(values).to(torch.int64).pin_memory().numpy()
