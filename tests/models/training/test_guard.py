import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.training.guard import Guard, Streak, described, verdict
from models.training.settings import GuardSettings

CPU = torch.device("cpu")
NOT_FINITE = st.just(math.nan) | st.just(math.inf)
STEP = st.tuples(st.floats(0.5, 20) | NOT_FINITE, st.floats(0, 50) | NOT_FINITE)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def follow(guard, steps):
    """Whether each step is bad."""
    verdicts = []
    for loss, norm in steps:
        verdicts.append(bool(guard.judge(scalar(loss))) or not norm <= float(guard.norm_limit))
        guard.add(scalar(loss), scalar(norm))
    return verdicts


def steady(count):
    return [(3 + 0.01 * (i % 3), 1 + 0.01 * (i % 5)) for i in range(count)]


def plain(steps, window, deviations):
    """The same with lists."""
    kept, verdicts = [], []
    for loss, norm in steps:
        limits = [np.finfo(np.float32).max] * 2
        if len(kept) >= window // 2:
            columns = np.array(kept[-window:]).T
            rises = (0.01, 1.0)
            limits = [c.mean() + max(deviations * c.std(), r * c.mean()) for c, r in zip(columns, rises, strict=True)]
        verdicts.append(not loss <= limits[0] or not norm <= limits[1])
        if loss <= limits[0] and math.isfinite(norm):
            kept.append((loss, norm))
    return verdicts


@settings(max_examples=60)
@given(st.lists(STEP, max_size=40), st.integers(8, 12), st.sampled_from([1.3, 2.5]))
def test_it_judges_as_defined(steps, window, deviations):
    guard = Guard(GuardSettings(window=window, deviations=deviations), CPU)
    assert follow(guard, steps) == plain(steps, window, deviations)


@settings(max_examples=60)
@given(st.lists(STEP, max_size=30), st.lists(STEP, max_size=10))
def test_restored_from_json_it_goes_on_bit_for_bit(before, after):
    one, other = (Guard(GuardSettings(window=8, deviations=1.5), CPU) for _ in range(2))
    follow(one, before)
    other.restore(json.loads(json.dumps(one.state())))
    assert torch.equal(one.limits, other.limits)
    assert follow(one, after) == follow(other, after)
    assert one.state() == other.state()


def test_a_constant_is_no_spike_and_rounding_neither():
    guard = Guard(GuardSettings(window=8, deviations=3), CPU)
    assert not any(follow(guard, [(0.1, 0.3)] * 20 + [(0.1009, 0.3)]))
    assert follow(guard, [(0.1011 + 1e-3, 0.3)]) == [True]


def test_a_spike_of_the_loss_does_not_hide_the_next():
    guard = Guard(GuardSettings(window=8, deviations=6), CPU)
    assert follow(guard, [*steady(8), (9.0, 1.0), (9.0, 1.0), (3.0, 1.0)])[-3:] == [True, True, False]


def test_norms_have_a_limit_too():
    guard = Guard(GuardSettings(window=8), CPU)
    follow(guard, steady(8))
    assert float(guard.norm_limit) == pytest.approx(2 * 1.01625)
    assert follow(guard, [(3.0, 2.1), (3.0, 1.0)]) == [True, False]


@pytest.mark.parametrize("times", [2.1, 10, 1e6])
def test_norms_that_have_grown_for_good_are_soon_good(times):
    guard = Guard(GuardSettings(), CPU)
    follow(guard, steady(200))
    verdicts = follow(guard, [(loss, times * norm) for loss, norm in steady(200)])
    assert verdicts[:3] == [True] * 3
    assert not any(verdicts[5:])


def test_norms_that_go_on_growing_are_not():
    guard = Guard(GuardSettings(), CPU)
    follow(guard, steady(200))
    assert all(follow(guard, [(3.0, 10.0**k) for k in range(1, 21)]))


def test_zero_deviations_leave_only_what_is_not_finite():
    guard = Guard(GuardSettings(window=8, deviations=0), CPU)
    assert follow(guard, [(1.0, 1.0)] * 20 + [(1e30, 1e9), (math.nan, 1.0)])[-2:] == [False, True]


def test_forgetting_begins_a_new_window():
    guard = Guard(GuardSettings(window=8), CPU)
    follow(guard, [(1.0, 1.0)] * 20)
    guard.forget()
    assert follow(guard, [(50.0, 9.0)]) == [False]


def line(step, bad=None):
    values = {"step": step, "loss": None if bad == "not finite" else 2.0 * step, "gradient_norm": 1.5}
    return {**values, "learning_rate": 0.003, **({"bad": bad} if bad else {})}


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 6), st.integers(1, 5))
def test_a_streak_is_found_however_the_lines_are_cut(bad, longest, cut):
    streak, found = Streak(longest), []
    steps = [line(i, "spike" if each else None) for i, each in enumerate(bad, 1)]
    for at in range(0, len(steps), cut):
        found.append(streak.add(steps[at : at + cut]))
        if found[-1]:
            break
    runs = "".join("b" if each else "." for each in bad)
    assert any(found) == ("b" * longest in runs)
    if any(found):
        first = runs.index("b" * longest) + 1
        assert [each["step"] for each in streak.lines] == list(range(first, first + longest))


def test_what_is_bad_is_said():
    assert verdict(math.nan, 1, 9, 9) == verdict(1, math.inf, 9, 9) == "not finite"
    assert verdict(10, 1, 9, 9) == "the loss is above 9"
    assert verdict(1, 10, 9, 9.5) == "the gradient norm is above 9.5"
    text = described([line(step, "not finite") for step in range(1, 21)])
    assert "step 1 (loss not finite, gradient norm 1.5, learning rate 0.003): not finite" in text
    assert "… 12 more …" in text
    assert "step 20 " in text


def test_the_state_is_plain():
    guard = Guard(GuardSettings(window=8), CPU)
    follow(guard, [(1.0, 2.0)] * 3)
    assert guard.state() == {"losses": [1.0] * 3, "gradient_norms": [2.0] * 3}
