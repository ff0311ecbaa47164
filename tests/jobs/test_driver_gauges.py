"""What drivers show: the right gauges, with their tags, and nothing where there is no Ray."""

from typing import Any

import pytest
import ray

from jobs import gauges
from jobs.gauges import FIGURES, TRIAL_STATES, show, show_documents, show_trials
from jobs.progress import Progress

Shown = dict[tuple[str, ...], float]


class Gauge:
    """Takes what Ray's takes."""

    def __init__(self, name: str, shown: Shown) -> None:
        self.name, self.shown = name, shown

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tags.keys() == set(FIGURES[self.name][1]), f"{self.name}: {tags}"
        assert all(isinstance(tag, str) for tag in tags.values())
        self.shown[self.name.removeprefix("groundwork_"), *tags.values()] = value


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    values: Shown = {}
    monkeypatch.setattr(gauges, "_gauge", lambda name: Gauge(name, values))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    return values


def test_without_ray_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str) -> Any:
        raise AssertionError(name)

    monkeypatch.setattr(gauges, "_gauge", made)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    show("groundwork_tokens", 1, run="a")
    Progress("curate", 10, "MB").update(3)


def test_progress_is_shown_whether_or_not_a_line_is_due(shown: Shown) -> None:
    progress = Progress("curate", 10, "MB", interval_seconds=1e6)
    progress.update(3)
    progress.update(4)
    assert shown == {("job_done", "curate", "MB"): 4.0, ("job_planned", "curate", "MB"): 10.0}


def test_work_of_unknown_size_has_no_plan(shown: Shown) -> None:
    Progress("generate", None, "texts").update(3)
    assert shown == {("job_done", "generate", "texts"): 3.0}


def test_documents_have_stage_and_reason(shown: Shown) -> None:
    show_documents("mine", {"gopher/too_short": (3, 30)})
    assert shown == {
        ("documents", "mine", "gopher", "too_short"): 3.0,
        ("document_bytes", "mine", "gopher", "too_short"): 30.0,
    }


def test_trials_are_counted_by_state_also_where_there_are_none_left(shown: Shown) -> None:
    show_trials("tune", ["running", "waiting", "running"], None)
    show_trials("tune", ["done", "stopped", "running"], 4.5)
    states = {name[-1]: value for name, value in shown.items() if name[0] == "tuning_trials"}
    assert states == dict.fromkeys(TRIAL_STATES, 0.0) | {"done": 1, "stopped": 1, "running": 1}
    assert shown["tuning_best", "tune"] == 4.5
