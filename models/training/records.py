"""What a run writes down of itself: metrics and texts as JSON lines, trackers, and what its reporter is told."""

from __future__ import annotations

from typing import Any

from models.training.journal import Journal
from models.training.reporter import Phase, Reporter
from models.training.spec import METRICS, SAMPLES, TrainingSpec
from models.training.step_lines import StepLines
from models.training.trackers import Tracker, flat, open_trackers


class Records:
    """The records of a run; rank 0 keeps them, and elsewhere nothing happens.

    Args:
        spec: the run; without a run directory only the reporter is told.
        reporter: who runs the loop.
        step: the run goes on after it; what was written of later steps is dropped.
        journal: where events go besides; None: nowhere.

    Attributes:
        newest_before: the last step that an attempt before this one told of.
    """

    def __init__(self, spec: TrainingSpec, reporter: Reporter, step: int, journal: Journal | None = None) -> None:
        self._spec, self._reporter, self._first = spec, reporter, reporter.workers.first
        self._journal = journal
        writes = self._first and spec.run_directory is not None
        self._metrics = StepLines(f"{spec.run_directory}/{METRICS}", step) if writes else None
        self.newest_before = self._metrics.newest if self._metrics else 0
        self._texts = (
            StepLines(f"{spec.run_directory}/{SAMPLES}", step) if writes and spec.training.samples.prompts else None
        )
        self._trackers: list[Tracker] = open_trackers(spec, step) if writes else []

    def phase(self, name: Phase) -> None:
        """What the run does from now on."""
        if self._first:
            self._reporter.phase(name)

    def add(self, lines: list[dict[str, Any]], steps_done: int, steps: int, seconds_left: float | None) -> None:
        """Metric lines, of steps or of a validation. Trackers get the last one, and those of bad steps."""
        if not self._first:
            return
        if self._metrics:
            self._metrics.write(lines)
        for tracker in self._trackers:
            for line in lines:
                if line is lines[-1] or "bad" in line:
                    tracker.log(line["step"], flat(line))
        self._reporter.steps(lines, steps_done, steps, seconds_left)

    def event(self, step: int, event: str, message: str, **figures: Any) -> None:
        """Something out of the ordinary: a metrics line, and said."""
        if not self._first:
            return
        if self._metrics:
            self._metrics.write([{"step": step, "event": event, "message": message, **figures}])
        self.note(event, step=step, message=message, **figures)
        self._reporter.say(message)

    def note(self, event: str, **values: Any) -> None:
        """A line of the journal."""
        if self._journal:
            self._journal.add(event, **values)

    def say(self, message: str) -> None:
        """Something that the metric lines tell already."""
        if self._first:
            self._reporter.say(message)

    def texts(self, lines: list[dict[str, Any]]) -> None:
        """Texts that the network wrote."""
        if not self._first:
            return
        if self._texts:
            self._texts.write(lines)
        for line in lines:
            self._reporter.say(f"step {line['step']}: {_one_line(line['prompt'])} … {_one_line(line['text'])}")

    def rewind(self, step: int) -> None:
        """The steps after this one are done again."""
        for file in (self._metrics, self._texts):
            if file:
                file.rewind(step)
        if self._trackers:
            self._close_trackers()
            self._trackers = open_trackers(self._spec, step)

    def sync(self) -> None:
        """Make sure that the files have all lines."""
        for file in (self._metrics, self._texts):
            if file:
                file.sync()

    def close(self) -> None:
        """The run is over."""
        self._close_trackers()

    def _close_trackers(self) -> None:
        for tracker in self._trackers:
            tracker.close()
        self._trackers = []


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")
