"""What jobs' drivers show in Prometheus format, through Ray: `groundwork_*`. Ray puts `ray_` before every name.

They are gauges, not counters: a run that is taken up again tells of all that it has done, and of a driver that is gone
nothing is told. Those of training stand in `models.training.gauges`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "groundwork_job_done": ("how much of its work a job has done", ("run", "unit")),
    "groundwork_job_planned": ("how much work a job has", ("run", "unit")),
    "groundwork_documents": ("documents a run came to by now", ("run", "stage", "reason")),
    "groundwork_document_bytes": ("their bytes", ("run", "stage", "reason")),
    "groundwork_tokens": ("tokens that a run's documents became by now", ("run",)),
    "groundwork_tuning_trials": ("trials of a search", ("run", "state")),
    "groundwork_tuning_best": ("the best objective of a search by now", ("run",)),
}
"""Name -> what it is, and its tags. `stage` and `reason` are the funnel's, or sources/read, corpus/kept and
tokenize/encoded."""


def show(name: str, value: float, **tags: str) -> None:
    """Set one of `FIGURES`; nothing happens where Ray is not up yet."""
    import ray

    if ray.is_initialized():
        _gauge(name).set(float(value), tags=tags)


def show_documents(run: str, counts: Mapping[str, tuple[int, int]]) -> None:
    """Set documents and bytes by `stage/reason`."""
    for name, (documents, size) in counts.items():
        stage, _, reason = name.partition("/")
        show("groundwork_documents", documents, run=run, stage=stage, reason=reason)
        show("groundwork_document_bytes", size, run=run, stage=stage, reason=reason)


def show_trials(run: str, states: Iterable[str], best: float | None) -> None:
    """Set the numbers of a search's trials by state, and its best objective."""
    found = list(states)
    for state in TRIAL_STATES:
        show("groundwork_tuning_trials", found.count(state), run=run, state=state)
    if best is not None:
        show("groundwork_tuning_best", best, run=run)


TRIAL_STATES = ("waiting", "running", "compared", "stopped", "done", "diverged")
"""See `models.tuning.search.Trial.state`."""


@functools.cache
def _gauge(name: str) -> Any:
    from ray.util.metrics import Gauge

    text, tags = FIGURES[name]
    return Gauge(name, text, tag_keys=tags)
