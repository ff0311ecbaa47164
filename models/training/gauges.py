"""A run's figures in Prometheus format, through Ray: `groundwork_training_*`, tagged with the run.

Rank 0 shows what its steps come to (`StepGauges`), the driver what the run as a whole comes to (`RunGauges`). A gauge
ends with its process: the driver's tell of a run whose workers are dead, and are gone once the run is over. Ray puts
`ray_` before every name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from models.training.journal import read_journal
from models.training.spec import PROGRESS
from models.training.storage import read_file
from models.training.timeline import so_far

PREFIX = "groundwork_training_"
STEP_FIGURES = {
    "loss": "nats a target, of the newest step",
    "bits_per_byte": "of the newest step's targets",
    "learning_rate": "of the newest step",
    "gradient_norm": "of the newest step, before clipping",
    "tokens": "seen by the run",
    "tokens_per_second": "of all workers, without validation and checkpoints",
    "step_seconds": "mean of the newest group of steps",
    "mfu": "model FLOPs over the GPUs' dense bf16 peak",
    "data_wait_share": "share of the time in which no batch was ready",
    "skipped_steps": "steps left out so far",
    "memory_bytes": "of rank 0: resident, or the most on its GPU",
    "slowest_to_median": "a step's own time of the slowest rank over the median rank's",
    "validation_loss": "nats a target of held-out text",
    "validation_bits_per_byte": "of held-out text",
}
"""Rank 0's, by their name in a metrics line."""
OF_STEPS = {
    "nonfinite_steps": "steps since this process began whose loss or gradient norm was not a number",
    "phase_seconds": "seconds by phase, of the newest group of steps",
}
"""Rank 0's besides; `phase_seconds` has a tag more: the phase."""
RUN_FIGURES = {
    "steps_done": "steps that the run has done",
    "steps_planned": "steps that the run is to do",
    "attempts": "times that its workers were started",
    "workers": "of the newest attempt",
    "goodput": "time of steps that were kept, or may yet be, over all time since the first attempt's start",
    "lost_steps": "steps that were done again",
    "checkpoint_timestamp_seconds": "when what a crash now would go back to was begun (seconds since 1970)",
    "checkpoint_blocked_seconds": "in which steps waited for checkpoints, in all",
}
"""The driver's."""


class StepGauges:
    """Rank 0's gauges.

    Args:
        name: the run's, their tag.
    """

    def __init__(self, name: str) -> None:
        self._gauges = _gauges(STEP_FIGURES, ("run",)) | _gauges({"nonfinite_steps": OF_STEPS["nonfinite_steps"]})
        self._phases = _gauges({"phase_seconds": OF_STEPS["phase_seconds"]}, ("run", "phase"))["phase_seconds"]
        self._tags, self._nonfinite = {"run": name}, 0

    def set(self, lines: Sequence[dict[str, Any]]) -> None:
        """Show the newest of these metrics lines, and count those that are not finite."""
        for figure, gauge in self._gauges.items():
            if lines[-1].get(figure) is not None:
                gauge.set(float(lines[-1][figure]), tags=self._tags)
        for phase, seconds in lines[-1].get("phase_seconds", {}).items():
            self._phases.set(float(seconds), tags={**self._tags, "phase": phase})
        self._nonfinite += sum(not_finite(line) for line in lines)
        self._gauges["nonfinite_steps"].set(float(self._nonfinite), tags=self._tags)


class RunGauges:
    """The driver's gauges, out of the run's journal and `progress.json`.

    Args:
        run_directory: of the run.
        name: the run's, their tag.
    """

    def __init__(self, run_directory: str, name: str) -> None:
        self._directory, self._tags, self._began = run_directory, {"run": name}, time.time()
        self._gauges = _gauges(RUN_FIGURES)

    def set(self) -> None:
        """Read and show; storage that refuses is asked again the next time."""
        try:
            events = read_journal(self._directory)
            progress = json.loads(read_file(f"{self._directory}/{PROGRESS}") or b"{}")
        except (OSError, ValueError):
            return
        for figure, value in run_figures(events, progress, self._began, time.time()).items():
            self._gauges[figure].set(float(value), tags=self._tags)


def run_figures(
    events: Sequence[dict[str, Any]], progress: dict[str, Any], began: float, now: float
) -> dict[str, float]:
    """What the driver's gauges show.

    Args:
        events: of `read_journal`.
        progress: of `progress.json`.
        began: when this driver began (seconds since 1970): what is lost in a crash is at most what it did since then.
        now: seconds since 1970.
    """
    found = so_far(events, progress.get("time", 0.0), now)
    begun = [at for attempt in found.attempts for at, _ in attempt.checkpoints]
    figures = {
        "attempts": len(found.attempts),
        "goodput": found.goodput,
        "lost_steps": sum(event.get("lost_steps", 0) for event in events if event["event"] == "resume"),
        "checkpoint_timestamp_seconds": max([began, *begun]),
        "checkpoint_blocked_seconds": found.blocked,
    }
    if found.attempts:
        figures["workers"] = found.attempts[-1].workers
    if "steps" in progress:
        figures |= {"steps_done": progress["steps"], "steps_planned": progress["of"]}
    return figures


def not_finite(line: dict[str, Any]) -> bool:
    """Whether a step's line has a figure that was not a number: JSON has none, so it stands there as null."""
    return any(key in line and line[key] is None for key in ("loss", "gradient_norm"))


def _gauges(figures: dict[str, str], tags: tuple[str, ...] = ("run",)) -> dict[str, Any]:
    from ray.util.metrics import Gauge

    return {figure: Gauge(f"{PREFIX}{figure}", text, tag_keys=tags) for figure, text in figures.items()}
