"""The training loop: the same under Ray Train with DeepSpeed, in a Ray Tune trial, and alone in a process."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from bisect import bisect_left
from typing import Any

import torch

from models.training.batch import BatchPlan
from models.training.checkpoint import Meta
from models.training.data import fetched
from models.training.engine import Engine, TorchEngine
from models.training.guard import DivergedError, Guard, Streak, described
from models.training.initial import Fill, initial_weights, one_by_one, without_weights
from models.training.journal import Journal
from models.training.metrics import StepRecord, peak_memory_bytes, threads_for
from models.training.prefetch import Prefetch
from models.training.records import Records
from models.training.reporter import Reporter
from models.training.samples import SampleWriter
from models.training.saving import Saving
from models.training.schedule import learning_rate
from models.training.spec import FINAL_SUMMARY, VALIDATION_BEFORE, TrainingSpec
from models.training.storage import write_file
from models.training.stragglers import Stragglers
from models.training.trackers import check
from models.training.urgency import Urgency
from models.training.validation import Validation
from models.training.watchdog import Watchdog
from models.training.work import Portions, Work
from models.training.workers import Workers


def train(spec: TrainingSpec, reporter: Reporter) -> dict[str, Any]:
    """Train in this worker, from the newest complete checkpoint on where there is one.

    Returns:
        the final figures (rank 0's are complete): `steps`, `tokens`, `loss`, `skipped_steps`, `tokens_per_second`,
        `seconds`, `checkpoint`, validation figures, and those of weights that it started from (`validation_before`).

    Raises:
        DivergedError: too many bad steps in a row, and no return to a checkpoint is left.
        RuntimeError: the last checkpoint could not be written, or a tracker's package is missing.
        DamagedError: there are checkpoints, and none of them is as it was written.
    """
    return _Run(spec, reporter).go()


def build_engine(spec: TrainingSpec, workers: Workers, plan: BatchPlan) -> Engine:
    """The engine that the settings name, with the weights that the run begins with; called by all workers."""
    settings, device, network = spec.training, workers.device, without_weights(spec.model)
    in_parts = settings.engine == "deepspeed" and settings.zero_stage == 3
    reads: contextlib.AbstractContextManager[Fill | None] = initial_weights(spec)
    if in_parts and not workers.first:
        # DeepSpeed gives all workers their parts of the first one's.
        reads = contextlib.nullcontext()
    with reads as weights:
        if not in_parts:
            for _ in one_by_one(network, weights, torch.float32, device):
                pass
        if settings.engine == "torch":
            return TorchEngine(network, settings, device)
        from models.training.deepspeed_engine import DeepSpeedEngine

        return DeepSpeedEngine(network, settings, device, plan, weights)


class _Run:
    """One worker's run of the loop."""

    def __init__(self, spec: TrainingSpec, reporter: Reporter) -> None:
        began = time.perf_counter()
        self.spec, self.reporter, self.settings, self.workers = spec, reporter, spec.training, reporter.workers
        self.first, self.device = self.workers.first, self.workers.device
        if self.first:
            check(self.settings.trackers)
        journal = Journal(spec.run_directory, "rank-0") if spec.run_directory and self.first else None
        if journal:
            journal.add("starting", workers=self.workers.world, node=socket.gethostname())
        threads_for(self.device, self.settings.threads)
        self.plan = BatchPlan.of(self.settings, self.workers.world)
        self.steps = self.plan.steps
        self.writer = self._sample_writer()
        self.engine = build_engine(spec, self.workers, self.plan)
        data = fetched(spec.dataset_factory(), self.steps.samples)
        self.portions = Portions(data, self.plan, self.workers, spec.token_bytes)
        self.validation = self._validation()
        self.guard, self.streak = Guard(self.settings.guard, self.device), Streak(self.settings.guard.bad_steps)
        self.step = self.skipped = self.skipped_samples = self.rollbacks = self.stage = 0
        self.seconds = 0.0
        self.last: dict[str, Any] = {}
        self.record = StepRecord(self.workers, spec.model.flops_per_token(self.settings.sequence_length))
        every = range(self.steps.total)
        # After these steps the rate is that of a decay's end; the next one has the full rate again.
        self.decayed = {bisect_left(every, float(tokens), key=self._middle) for tokens in self.settings.decays_at}
        self.rungs = {max(1, bisect_left(every, tokens, key=self.steps.tokens_before)) for tokens in reporter.rungs}
        self.saving = Saving(spec, reporter)
        self._resume()
        self.resumed_from, self.going = self.step, False
        self.stragglers = Stragglers(self.workers.everyone(socket.gethostname()))
        self.urgency = Urgency(reporter, self.settings.checkpoint_every_seconds, lambda: self.saving.busy)
        self.records = Records(spec, reporter, self.step, journal)
        self.saving.tell_damaged(self.step + 1, self.records)
        self.setup_seconds = time.perf_counter() - began
        self._note_start()

    def _note_start(self) -> None:
        before = self.reporter.last_told
        values: dict[str, Any] = {"step": self.step, "workers": self.workers.world}
        values["seconds"] = round(self.setup_seconds, 3)
        if before:
            done = max(before.get("steps", 0), self.records.newest_before)
            values["lost_steps"] = max(0, done - self.step)
            values["last_sign"] = before.get("time")
        self.records.note("resume" if before or self.step else "start", **values)

    def go(self) -> dict[str, Any]:
        self.began = time.perf_counter()
        self.watchdog = Watchdog(self.settings.hang_seconds, self._stuck)
        try:
            if self.step == 0 and self.spec.initial_weights is not None and self.validation is not None:
                # What they knew before: later nothing can tell.
                self._validate()
                self.last = {VALIDATION_BEFORE: self.last}
            while self._train():
                self._go_back()
            return self._finish()
        finally:
            self.watchdog.close()
            self.records.close()

    def _stuck(self, stacks: str) -> None:
        message = f"nothing has moved for {self.settings.hang_seconds:g} s after step {self.step}"
        if self.spec.run_directory:
            rank = self.workers.rank
            journal = Journal(self.spec.run_directory, f"rank-{rank}-hang")
            journal.add("hang", step=self.step, rank=rank, node=socket.gethostname(), message=message, stacks=stacks)
        self.reporter.stuck(f"{message}; it stands at\n{stacks}")

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
                # Looked at each step: a machine may be gone, and its driver too, two minutes after a notice.
                saves = saves or (not ends and self.urgency.wanted)
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

    def _work(self, step: int) -> Work:
        return self.portions(step, self.skipped_samples)

    def _step(self, work: Work) -> None:
        stage = self.portions.stage(self.steps.samples_before(self.step + 1) + self.skipped_samples)
        if self.step in self.decayed or stage != self.stage:
            self.guard.forget()
        self.stage = stage
        record, rate = self.record, learning_rate(self.settings, self._middle(self.step))
        record.mark("")
        work.counts[2] = self.urgency.ask()
        counts, asked = self.workers.sum(work.counts.to(self.device, non_blocking=True)).split([2, 1])
        self.urgency.hear(asked)
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
        outcome = self.engine.step(rate, self.guard.judge(loss), self.guard.norm_limit)
        record.mark("optimizer")
        norm, applied = outcome.gradient_norm.double(), outcome.applied
        values = torch.cat([total, counts, torch.stack([norm, applied.double()]), self.guard.limits])
        self.guard.add(loss, norm)
        before = self.tokens
        self.step += 1
        record.add({"step": self.step, "tokens": self.tokens, "learning_rate": rate}, values, self.tokens - before)
        self.watchdog.moved()

    def _flush(self) -> bool:
        """Look at the steps since the last time; True: too many in a row were bad."""
        lines, elapsed = self.record.flush(self.seconds)
        self.watchdog.moved()
        self.seconds += elapsed
        too_many = self.streak.add(lines)
        if lines:
            self.skipped += sum("skipped" in line for line in lines)
            lines[-1]["skipped_steps"] = self.skipped
            good = [line["loss"] for line in lines if "bad" not in line]
            kept = {key: value for key, value in self.last.items() if key.startswith("validation") or key == "loss"}
            if self.first and (slow := self.stragglers.add(lines[-1])):
                self.records.event(self.step, "straggler", slow)
            self.last = kept | lines[-1] | ({"loss": good[-1]} if good else {})
            self._tell(lines)
        if self.step > self.resumed_from and not self.going:
            self.going = True
            self.records.note("first_step", step=self.step)
        if bad := [line for line in lines if "bad" in line]:
            self.records.say(f"bad steps: {described(bad)}")
            self.records.note("skip", step=bad[-1]["step"], message=described(bad))
        self.saving.settle(self.step, self.records)
        return too_many

    def _tell(self, lines: list[dict[str, Any]]) -> None:
        done = self.tokens - self.steps.tokens_before(self.resumed_from)
        left = self.steps.tokens_before(self.steps.total) - self.tokens
        seconds = round((time.perf_counter() - self.began) * left / done, 1) if done > 0 else None
        self.records.add(lines, self.step, self.steps.total, seconds)

    def _validation(self) -> Validation | None:
        sequences = self.settings.validation_sequences
        if self.spec.validation_factory is None or not sequences:
            return None
        return Validation(
            fetched(self.spec.validation_factory(), sequences),
            sequences,
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
            figures = self.validation(self.engine, self.watchdog.moved)
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
        found = self.saving.newest(self.engine, self.settings.resume)
        if found is None:
            return
        location, meta = found
        self.skipped_samples, self.rollbacks, self.seconds = meta.skipped_samples, meta.rollbacks, meta.seconds
        self._go_on(meta)
        self.streak.lines = meta.guard["streak"]
        self.last = {
            key: value
            for key, value in meta.figures.items()
            if key == VALIDATION_BEFORE or not key.startswith("validation")
        }
        self.reporter.resumed(location)

    def _go_on(self, meta: Meta) -> None:
        self.step, self.skipped = meta.step, meta.skipped
        self.stage = self.portions.stage(meta.samples)
        self.guard.restore(meta.guard["window"])

    def _go_back(self) -> None:
        """Go on from the newest checkpoint before the bad steps, past the samples that came since then."""
        bad = self.streak.lines
        since, until = (
            self.steps.samples_before(step) + self.skipped_samples for step in (bad[0]["step"] - 1, bad[-1]["step"])
        )
        diagnosis = f"{len(bad)} bad steps in a row, samples {since} to {until - 1}: {described(bad)}"
        left = self.rollbacks < self.settings.guard.rollbacks
        found = self.saving.before(self.engine, bad[0]["step"], self.records) if left else None
        if found is None:
            tried = "no checkpoint to go back to" if left else f"after {self.rollbacks} returns to a checkpoint"
            raise DivergedError(
                f"{self.spec.name}: {diagnosis}; {tried}; look at these samples, or lower training.learning_rate "
                f"({self.settings.learning_rate:g}): another run, best of another `name`, that begins anew"
            )
        cursor = self.steps.samples_before(self.step)
        self._go_on(found[1])
        past = cursor - self.steps.samples_before(self.step)
        self.skipped_samples, self.rollbacks = self.skipped_samples + past, self.rollbacks + 1
        self.streak.lines = []
        self.record.stop()
        self.records.rewind(self.step)
        self.saving.tell_damaged(self.step + 1, self.records)
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
        with self.record.phase("checkpoint"), self.watchdog.waiting():
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
                optimizer_steps=self.engine.optimizer_steps,
                guard={"window": self.guard.state(), "streak": self.streak.lines},
                figures=dict(self.last),
            )
            figures = {key: value for key, value in self.last.items() if isinstance(value, int | float)}
            self.saving.save(meta, self.engine, figures, self.records)
            self.urgency.saved()
            self.records.sync()
        self.records.phase("training")

    def _finish(self) -> dict[str, Any]:
        if self.step == self.resumed_from:
            # It ended here before, maybe with other validation settings.
            self._validate()
        self._save()
        with self.record.phase("checkpoint"), self.watchdog.waiting():
            self.saving.finish(self.step, self.records)
        self.records.note("end", step=self.step)
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
            "validation_sequences": self.settings.validation_sequences,
        }
        if self.spec.run_directory and self.first:
            write_file(f"{self.spec.run_directory}/{FINAL_SUMMARY}", json.dumps(summary, indent=1).encode())
            self.records.sync()
        return summary
