"""Checkpoints as the loop uses them: saved in the background, seen to be complete, gone back to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from models.training.checkpoint import Checkpoints, Meta, nothing_left
from models.training.engine import Engine
from models.training.records import Records
from models.training.reporter import Reporter
from models.training.spec import CHECKPOINTS, TrainingSpec
from models.training.storage import DamagedError, remove


class Saving:
    """The checkpoints of a run. All methods are called by all workers alike.

    Args:
        spec: the run; without a run directory nothing is saved, and nothing is found.
        reporter: is told of each checkpoint that is complete.

    Attributes:
        location: the newest complete checkpoint; empty: none yet.
        step: the newest one that was begun, or gone on from; -1: none.
        damaged: what was wrong with checkpoints that were not gone on from, in words, until it is told.
    """

    def __init__(self, spec: TrainingSpec, reporter: Reporter) -> None:
        self._reporter, self._workers = reporter, reporter.workers
        self._pending: dict[str, float] | None = None
        self.location, self.step = "", -1
        self.damaged: list[str] = []
        self._told: dict[str, Any] = {}
        self._checkpoints = None
        if spec.run_directory:
            settings = spec.training
            root, keep, milestones = (
                f"{spec.run_directory}/{CHECKPOINTS}",
                settings.keep_checkpoints,
                settings.milestone_every_steps,
            )
            self._checkpoints = Checkpoints(root, self._workers, keep, milestones)

    def newest(self, engine: Engine, resume: bool) -> tuple[str, Meta] | None:
        """Go on from the newest complete checkpoint that is as it was written; what crashes left is removed.

        Args:
            engine: takes what was saved.
            resume: False: only remove.

        Raises:
            DamagedError: there are complete checkpoints, and none of them can be read.
        """
        checkpoints, first = self._checkpoints, self._workers.first
        if checkpoints is None:
            return None
        found = checkpoints.committed()[::-1] if first else []
        found, unreadable = self._workers.from_first((found, checkpoints.unreadable()))
        if resume and not found and unreadable:
            raise DamagedError(nothing_left(unreadable))
        if resume:
            self.damaged += unreadable
        if first:
            checkpoints.remove_incomplete()
        return self._load_first(engine, found) if resume and found else None

    def before(self, engine: Engine, step: int, records: Records) -> tuple[str, Meta] | None:
        """Go on from the newest complete checkpoint of fewer steps, else the newest of all; later ones are removed."""
        if self._checkpoints is None:
            return None
        self._checkpoints.wait()
        self.settle(step, records)
        found: list[tuple[str, Meta]] = []
        if self._workers.first and (committed := self._checkpoints.committed()):
            found = [each for each in reversed(committed) if each[1].step < step] or committed[-1:]
            for location, meta in committed:
                if meta.step > found[0][1].step:
                    remove(location)
        found = self._workers.from_first(found)
        return self._load_first(engine, found) if found else None

    def _load_first(self, engine: Engine, found: Sequence[tuple[str, Meta]]) -> tuple[str, Meta]:
        """Load the first of these that is as it was written; those before it are removed."""
        assert self._checkpoints is not None
        wanted = engine.pieces(own=False)
        damaged: list[str] = []
        for location, meta in found:
            problem = None
            try:
                self._checkpoints.load(location, wanted)
            except DamagedError as error:
                problem = str(error)
            if (problem := self._workers.first_of(problem)) is None:
                engine.adopt(meta.optimizer_steps)
                if self._workers.first:
                    for bad, _ in found[: len(damaged)]:
                        remove(bad)
                self.location, self.step = location, meta.step
                self.damaged += damaged
                return location, meta
            damaged.append(problem)
        raise DamagedError(nothing_left(damaged))

    def save(self, meta: Meta, engine: Engine, figures: dict[str, float], records: Records) -> None:
        """Save what the engine holds, unless it is there; training goes on while it is written.

        Args:
            meta: what it is of.
            engine: whose state.
            figures: what is registered with it.
            records: of the run, for saves that fail.
        """
        if self._checkpoints is None or self.step == meta.step:
            return
        began, begun = time.perf_counter(), time.time()
        self._checkpoints.wait()
        self.settle(meta.step, records)
        self._checkpoints.save(meta, engine.pieces(own=True))
        self.step, self._pending = meta.step, figures
        blocked = round(time.perf_counter() - began, 4)
        self._told = {"step": meta.step, "begun": round(begun, 3), "blocked_seconds": blocked}

    @property
    def busy(self) -> bool:
        """Whether this worker still writes the newest one; on rank 0 that is whether anybody does."""
        return self._checkpoints is not None and self._checkpoints.busy

    def finish(self, step: int, records: Records) -> None:
        """Wait for the last checkpoint.

        Raises:
            RuntimeError: it could not be written.
        """
        if self._checkpoints is not None:
            self._checkpoints.wait(required=True)
            self.settle(step, records)

    def settle(self, step: int, records: Records) -> None:
        """See what became of the newest save; all workers know whether there is one to ask for."""
        if self._checkpoints is None or self._pending is None:
            return
        answer = (self._checkpoints.landed(), self._checkpoints.failed()) if self._workers.first else None
        landed, failed = self._workers.from_first(answer)
        figures = self._pending
        if landed or failed:
            self._pending = None
        for location in landed:
            self.location = location
            records.note("checkpoint", **self._told)
            self._reporter.committed(location, figures)
        for message in failed:
            records.event(step, "checkpoint_failed", message)

    def tell_damaged(self, step: int, records: Records) -> None:
        """Say what was found damaged."""
        for problem in self.damaged:
            records.event(step, "checkpoint_damaged", f"{problem}; the checkpoint before is gone on from")
        self.damaged = []
