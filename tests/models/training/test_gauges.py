"""What a run's gauges come to, out of its journal and its progress."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training import gauges
from models.training.gauges import StepGauges, not_finite, run_figures
from models.training.timeline import so_far, timeline


class Shown:
    """In place of Ray's gauges."""

    def __init__(self):
        self.values = {}

    def set(self, value, tags):
        self.values[tuple(sorted(tags.items()))] = value


@pytest.fixture
def shown(monkeypatch):
    found = {}

    def made(figures, tags=("run",)):
        return {figure: found.setdefault(figure, Shown()) for figure in figures}

    monkeypatch.setattr(gauges, "_gauges", made)
    return found


def begun(at=0.0, step=0, **values):
    return [
        {"time": at, "event": "starting", "workers": 2},
        {"time": at + 10, "event": "resume" if step else "start", "step": step, "workers": 2, **values},
    ]


def saved(at, step, blocked=0.5):
    return {"time": at + 1, "event": "checkpoint", "step": step, "begun": at, "blocked_seconds": blocked}


DEAD = {"event": "failure", "cause": "a node went", "kind": "worker", "ranks": [1]}


def figures(events, sign=0.0, now=0.0, began=0.0, **progress):
    return run_figures(events, {"time": sign, **progress}, began, now)


def test_steps_since_the_checkpoint_count_while_their_workers_live():
    events = [*begun(), saved(50, 4)]
    assert figures(events, sign=90, now=100)["goodput"] == pytest.approx(0.8)
    dead = [*events, {"time": 95, **DEAD}]
    assert figures(dead, sign=90, now=100)["goodput"] == pytest.approx(0.4)


def test_goodput_falls_while_nobody_works():
    events = [*begun(), saved(50, 4), {"time": 60, **DEAD}]
    found = [figures(events, sign=58, now=now)["goodput"] for now in (80, 200, 800)]
    assert found == [pytest.approx(40 / now) for now in (80, 200, 800)]


def test_workers_that_hang_earn_nothing():
    events = begun()
    assert figures(events, sign=60, now=1000)["goodput"] == pytest.approx(0.05)


def test_what_an_attempt_before_told_is_not_this_ones():
    events = [*begun(), saved(50, 4), {"time": 60, **DEAD}, *begun(at=100, step=4, last_sign=58, lost_steps=3)]
    assert figures(events, sign=58, now=120)["goodput"] == pytest.approx(40 / 120)
    assert figures(events, sign=58, now=120)["lost_steps"] == 3
    assert figures(events, sign=58, now=120)["attempts"] == 2


def test_a_run_that_ended_keeps_its_goodput():
    events = [*begun(), saved(50, 4), {"time": 100, "event": "end", "step": 8}]
    assert figures(events, sign=99, now=100)["goodput"] == figures(events, sign=99, now=9000)["goodput"] == 0.9


def test_a_checkpoints_age_grows_from_the_newest_and_from_the_drivers_start_where_there_is_none():
    assert figures([], began=7)["checkpoint_timestamp_seconds"] == 7
    events = [*begun(), saved(50, 4), saved(30, 2)]
    assert figures(events, began=7)["checkpoint_timestamp_seconds"] == 50
    # What a driver before this one saved is no work that is at risk now.
    assert figures(events, began=5000)["checkpoint_timestamp_seconds"] == 5000
    assert figures(events)["checkpoint_blocked_seconds"] == 1.0


def test_nothing_is_told_of_steps_that_nobody_did():
    assert "steps_done" not in figures(begun())
    assert figures(begun(), steps=3, of=9)["steps_done"] == 3
    assert figures(begun(), steps=3, of=9)["steps_planned"] == 9


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=6), st.floats(0, 200), st.floats(0, 200))
def test_goodput_is_a_share_whatever_the_clocks_say(gaps, sign, later):
    events, at = [], 0.0
    for number, gap in enumerate(gaps):
        attempt = begun(at, number, last_sign=max(0.0, at - 1), lost_steps=1)
        events += [*attempt, saved(at + 10 + gap / 2, number + 1), {"time": at + 12 + gap, **DEAD}]
        at += 20 + gap
    goodput = so_far(sorted(events, key=lambda event: event["time"])[:-1], sign, at + later).goodput
    assert 0 <= goodput <= 1


def test_it_is_the_timeline_where_the_run_has_ended():
    events = [*begun(), saved(50, 4), {"time": 100, "event": "failed", "cause": "too often"}]
    assert so_far(events, 99, 200) == timeline(events)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ({"loss": 1.0, "gradient_norm": 2.0}, False),
        ({"loss": None, "gradient_norm": 2.0}, True),
        ({"loss": 1.0, "gradient_norm": None}, True),
        ({"validation_loss": 2.0}, False),
    ],
)
def test_a_step_without_a_number_is_counted_and_a_validation_is_not(line, wrong):
    assert not_finite(line) == wrong


def test_a_gauge_keeps_its_last_number_and_counts_those_that_were_none(shown):
    steps = StepGauges("mine")
    steps.set([{"loss": 3.0, "gradient_norm": 1.0, "phase_seconds": {"data": 0.5}}])
    steps.set([{"loss": None, "gradient_norm": 1.0}, {"loss": None, "gradient_norm": 1.0}])
    steps.set([{"validation_loss": 2.0}])
    assert shown["loss"].values == {(("run", "mine"),): 3.0}
    assert shown["nonfinite_steps"].values == {(("run", "mine"),): 2.0}
    assert shown["validation_loss"].values == {(("run", "mine"),): 2.0}
    assert shown["phase_seconds"].values == {(("phase", "data"), ("run", "mine")): 0.5}
    assert not any(math.isnan(value) for gauge in shown.values() for value in gauge.values.values())
