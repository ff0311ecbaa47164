import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.batch import Steps
from models.training.schedule import SCHEDULES, learning_rate
from models.training.settings import TrainingSettings


def settings(**changes):
    values = {"tokens": 1000, "tokens_per_step": 10, "sequence_length": 10, "learning_rate": 1.0}
    return TrainingSettings.model_validate(values | {"warmup_fraction": 0.1} | changes)


def test_warm_up_is_a_straight_line():
    assert [learning_rate(settings(), tokens) for tokens in (0, 25, 50)] == [0.0, 0.25, 0.5]


def test_wsd_values():
    run = settings(schedule="wsd", decay_fraction=0.4)
    assert learning_rate(run, 100) == learning_rate(run, 600) == 1.0
    assert learning_rate(run, 700) == pytest.approx(1 - math.sqrt(0.25))
    assert learning_rate(run, 1000) == 0.0


def test_wsd_s_values():
    run = settings(schedule="wsd_s", decays_at=[400], decay_fraction=0.5, final_learning_rate_fraction=0.1)
    rates = [learning_rate(run, tokens) for tokens in (150, 200, 250, 400 - 1e-9, 400, 700, 775, 1000)]
    half = 1 - math.sqrt(0.25)
    assert rates == pytest.approx([1, 1, 0.1 + 0.9 * half, 0.1, 1, 1, 0.1 + 0.9 * half, 0.1], abs=1e-5)


def test_wsd_s_without_more_ends_is_wsd():
    once, again = settings(schedule="wsd"), settings(schedule="wsd_s")
    assert all(learning_rate(once, tokens) == learning_rate(again, tokens) for tokens in range(1001))


def test_a_decay_within_the_warm_up_never_exceeds_it():
    run = settings(schedule="wsd_s", decays_at=[80], decay_fraction=0.5)
    assert learning_rate(run, 40) == 0.4
    assert learning_rate(run, 79.9) < 0.05
    assert learning_rate(run, 80) == 0.8


def test_cosine_values():
    run = settings(schedule="cosine")
    assert learning_rate(run, 100) == 1.0
    assert learning_rate(run, 550) == pytest.approx(0.5)
    assert learning_rate(run, 1000) == pytest.approx(0.0)


def test_linear_values():
    run = settings(schedule="linear")
    assert learning_rate(run, 550) == pytest.approx(0.5)


def test_constant_stays():
    assert {learning_rate(settings(schedule="constant"), tokens) for tokens in (100, 500, 1000)} == {1.0}


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_floor_and_bounds(schedule):
    run = settings(schedule=schedule, final_learning_rate_fraction=0.1)
    rates = [learning_rate(run, tokens) for tokens in range(0, 1001, 10)]
    assert max(rates) == 1.0
    assert min(rates[10:]) >= 0.1 - 1e-12
    falling = rates[10:]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(falling))


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_without_warm_up_it_begins_at_the_peak(schedule):
    assert learning_rate(settings(schedule=schedule, warmup_fraction=0), 0) == 1.0


@given(st.sampled_from(sorted(SCHEDULES)), st.floats(0, 1000))
def test_a_token_has_the_same_rate_whatever_the_batches_were(schedule, tokens):
    ramp = [{"tokens": 200, "tokens_per_step": 10}, {"tokens": 400, "tokens_per_step": 20}]
    ramped = settings(schedule=schedule, batch_ramp=ramp, tokens_per_step=40)
    assert Steps.of(ramped).tokens_before(Steps.of(ramped).total) == 1000
    assert learning_rate(ramped, tokens) == learning_rate(settings(schedule=schedule), tokens)


def test_after_the_budget_it_stays_at_the_end():
    assert learning_rate(settings(schedule="linear"), 5000) == 0.0
