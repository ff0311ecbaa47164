"""Checkpoints as the loop uses them: saved in the background, seen to be complete, gone back to."""

from __future__ import annotations

from collections.abc import Callable

from models.training.checkpoint import Checkpoints, Meta, remove
from models.training.records import Records
from models.training.reporter import Reporter
from models.training.spec import CHECKPOINTS, TrainingSpec


class Saving:
    """The checkpoints of a run. All methods are called by all workers alike.

    Args:
        spec: the run; without a run directory nothing is saved, and nothing is found.
        reporter: is told of each checkpoint that is complete.

    Attributes:
        location: the newest complete checkpoint; empty: none yet.
        step: the newest one that was begun, or gone on from; -1: none.
    """

    def __init__(self, spec: TrainingSpec, reporter: Reporter) -> None:
        self._reporter, self._workers = reporter, reporter.workers
        self._pending: dict[str, float] | None = None
        self.location, self.step = "", -1
        self._checkpoints = None
        if spec.run_directory:
            settings = spec.training
            root, keep, milestones = (
                f"{spec.run_directory}/{CHECKPOINTS}",
                settings.keep_checkpoints,
                settings.milestone_every_steps,
            )
            self._checkpoints = Checkpoints(root, self._workers, keep, milestones)

    def newest(self, resume: bool) -> tuple[str, Meta] | None:
        """The newest complete checkpoint, where the run is to go on; what crashes left is removed.

        Raises:
            ValueError: another number of workers wrote it.
        """
        checkpoints, first = self._checkpoints, self._workers.first
        if checkpoints is None:
            return None
        found = self._workers.from_first(checkpoints.newest() if first else None)
        if first:
            checkpoints.remove_incomplete()
        if not resume:
            return None
        if found is not None and found[1].world != self._workers.world:
            raise ValueError(
                f"{found[0]} was written by {found[1].world} workers, this run has {self._workers.world}: continue "
                f"with training.workers={found[1].world}, or start anew with training.resume=false"
            )
        return found

    def before(self, step: int, records: Records) -> tuple[str, Meta] | None:
        """The newest complete checkpoint of fewer steps, else the newest of all; later ones are removed."""
        if self._checkpoints is None:
            return None
        self._checkpoints.wait()
        self.settle(step, records)
        found = None
        if self._workers.first and (committed := self._checkpoints.committed()):
            found = next((each for each in reversed(committed) if each[1].step < step), committed[-1])
            for location, meta in committed:
                if meta.step > found[1].step:
                    remove(location)
        return self._workers.from_first(found)

    def load(self, location: str, meta: Meta, read: Callable[[str], None]) -> None:
        """Go on from a checkpoint."""
        assert self._checkpoints is not None
        self._checkpoints.load(location, read)
        self.location, self.step = location, meta.step

    def save(self, meta: Meta, write: Callable[[str], None], figures: dict[str, float], records: Records) -> None:
        """Write a checkpoint, unless it is there; training goes on while it is uploaded.

        Args:
            meta: what it is of.
            write: writes this worker's part into a local directory.
            figures: what is registered with it.
            records: of the run, for saves that fail.
        """
        if self._checkpoints is None or self.step == meta.step:
            return
        self._checkpoints.wait()
        self.settle(meta.step, records)
        self._checkpoints.save(meta, write)
        self.step, self._pending = meta.step, figures

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
            self._reporter.committed(location, figures)
        for message in failed:
            records.event(step, "checkpoint_failed", message)
