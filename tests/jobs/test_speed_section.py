"""The report's speed and checkpoints: sums and sawteeth."""

from html.parser import HTMLParser

import pytest

from jobs.reporting.speed_section import ages, phases, speed


def attempt(began, ended, *saved):
    return {
        "starting": began - 1,
        "began": began,
        "last": began,
        "ended": ended,
        "checkpoints": [[at, at] for at in saved],
    }


def test_phases_are_summed_over_the_run_the_longest_first():
    rows = [{"phase_seconds": {"data": 1.0, "optimizer": 2.5}}, {"loss": 1}, {"phase_seconds": {"data": 4.0}}]
    assert list(phases(rows).items()) == [("data", 5.0), ("optimizer", 2.5)]


def test_a_checkpoints_age_grows_and_falls_to_nothing():
    assert ages([attempt(2, 30, 10, 20)]) == [(2, 0), (10, 8), (10, 0), (20, 10), (20, 0), (30, 10)]


def test_after_a_crash_it_grows_from_where_training_went_on():
    points = ages([attempt(0, 30, 10), attempt(50, 55)])
    assert points == [(0, 0), (10, 10), (10, 0), (30, 20), (50, 0), (55, 5)]


def record(**values):
    curve = [{"step": 1, "tokens": 10, "tokens_per_second": 5.0}, {"step": 2, "tokens": 20, "tokens_per_second": 7.0}]
    told = {"attempts": [attempt(2, 30, 10, 20)], "figures": {"blocked_seconds": 3.0, "wall_seconds": 30.0}}
    return {"curve": curve, "timeline": told, "phases": {"data": 1.0, "forward_backward": 3.0}, **values}


def drawn(page):
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append(tag)

    Reader().feed(str(page))
    return found


def test_the_section_draws_what_there_is():
    page = str(speed({"training": {"pretrain": record(), "finetune": None}}))
    assert drawn(page).count("figure") == 3
    for words in ("3.0 s, 75 %", "waiting for data", "10 %", "10 s"):
        assert words in page, words


@pytest.mark.parametrize(("values", "figures"), [({"timeline": None}, 2), ({"phases": {}}, 2), ({"curve": []}, 2)])
def test_it_draws_no_more_than_that(values, figures):
    assert drawn(speed({"training": {"pretrain": record(**values)}})).count("figure") == figures


def test_a_run_without_figures_has_no_section():
    assert speed({"training": {"pretrain": None}}) is None
    assert speed({"training": {"pretrain": record(curve=[], timeline=None, phases={})}}) is None
