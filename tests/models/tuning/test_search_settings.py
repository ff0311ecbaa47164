import numpy as np
import pytest

from models.network import PRESETS
from models.training.settings import TrainingSettings
from models.tuning import SearchSettings, Trial, best_of, survivors, trial_settings
from models.tuning.sampler import configurations, halton

SEARCH = {
    "space": {
        "learning_rate": {"low": 1e-3, "high": 1e-1},
        "tokens_per_step": [64, 128],
        "weight_decay": {"low": 0.01, "high": 0.1},
    },
    "trials": 16,
    "tokens": 1152,
    "first_rung_tokens": 128,
    "reduction": 3,
    "proxy": PRESETS["tiny"].model_dump(),
}
TRAINING = TrainingSettings(tokens=10_000, tokens_per_step=64, sequence_length=16, workers=2, zero_stage=2)


def search(**changes):
    return SearchSettings.model_validate(SEARCH | changes)


def test_rungs_grow_by_the_reduction_and_end_at_the_budget():
    assert search().rungs == (128, 384, 1152)
    assert search(tokens=1024).rungs == (128, 384, 1024)
    assert search(tokens=128).rungs == (128,)


def test_a_rung_between_two_steps_is_refused():
    with pytest.raises(ValueError, match="no whole number of steps of 128"):
        search(first_rung_tokens=192)


def test_points_are_in_bounds_even_and_nested():
    points = halton(64, 3, seed=5)
    assert points.min() >= 0
    assert points.max() < 1
    for axis in range(3):
        counts, _ = np.histogram(points[:, axis], bins=8, range=(0, 1))
        assert counts.min() >= 5
        assert counts.max() <= 11
    assert np.array_equal(halton(16, 3, seed=5), points[:16])
    assert not np.array_equal(halton(16, 3, seed=6), points[:16])


def test_configurations_stay_in_the_space_and_try_every_batch():
    found = configurations(search(), seed=1)
    assert len(found) == 16
    assert {each["tokens_per_step"] for each in found} == {64, 128}
    assert all(1e-3 <= each["learning_rate"] <= 1e-1 for each in found)
    assert all(0.01 <= each["weight_decay"] <= 0.1 for each in found)
    assert configurations(search(), seed=1) == found


def test_a_trial_is_the_target_but_for_what_is_searched_and_where_it_runs():
    config = {"learning_rate": 0.01, "tokens_per_step": 128, "weight_decay": 0.05}
    trial = trial_settings(TRAINING, search(), config, 384)
    assert (trial.engine, trial.workers, trial.tokens) == ("torch", 1, 384)
    assert (trial.learning_rate, trial.tokens_per_step, trial.weight_decay) == (0.01, 128, 0.05)
    assert (trial.schedule, trial.beta2) == (TRAINING.schedule, TRAINING.beta2)


def test_a_trial_is_short_whatever_the_target_is():
    target = {
        **TRAINING.model_dump(),
        "batch_ramp": [{"tokens": 5000, "tokens_per_step": 32}],
        "schedule": "wsd_s",
        "decays_at": [5000],
        "offload": "optimizer",
        "sequence_parallel": 2,
        "samples": {"prompts": ["a"]},
        "trackers": ["wandb"],
    }
    trial = trial_settings(TrainingSettings.model_validate(target), search(), {"learning_rate": 0.01}, 128)
    assert (trial.schedule, trial.decays_at, trial.batch_ramp, trial.steps) == ("wsd", (), (), 2)
    assert (trial.samples.prompts, trial.trackers, trial.guard.rollbacks) == ((), (), 0)


@pytest.mark.parametrize(("exponent", "rate"), [(1.0, 0.0025), (0.5, 0.005), (0.0, 0.01)])
def test_the_learning_rate_is_carried_over_by_width(exponent, rate):
    target = PRESETS["tiny"].model_copy(update={"hidden_size": 256})
    config = {"learning_rate": 0.01, "tokens_per_step": 128, "weight_decay": 0.05}
    settings = search(width_exponent=exponent, horizon_exponent=0.0)
    found = settings.transferred(TRAINING, trial_settings(TRAINING, settings, config, settings.tokens), target)
    assert found.learning_rate == pytest.approx(rate)
    assert (found.tokens_per_step, found.weight_decay) == (128, 0.05)
    assert (found.tokens, found.workers, found.zero_stage) == (10_000, 2, 2)


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 0.0025), ("muon", 0.01)])
def test_by_default_width_counts_for_adamw_and_not_for_muon(optimizer, rate):
    target = PRESETS["tiny"].model_copy(update={"hidden_size": 256})
    training = TRAINING.model_copy(update={"optimizer": optimizer})
    settings = search(horizon_exponent=0.0)
    best = trial_settings(training, settings, {"learning_rate": 0.01, "tokens_per_step": 128}, settings.tokens)
    assert settings.transferred(training, best, target).learning_rate == pytest.approx(rate)


def test_a_longer_run_gets_a_lower_rate():
    settings = search(horizon_exponent=0.5)
    best = trial_settings(TRAINING, settings, {"learning_rate": 0.01, "tokens_per_step": 128}, settings.tokens)
    found = settings.transferred(TRAINING.model_copy(update={"tokens": 4 * settings.tokens}), best, settings.proxy)
    assert found.learning_rate == pytest.approx(0.005)


def test_planned_tokens_are_those_of_all_rounds():
    assert search().planned_tokens == 16 * 128 + 6 * 384 + 2 * 1152


def test_survivors_are_the_best_third_ties_by_number_diverged_last():
    trials = [Trial(n, {}, final=final, diverged=final > 9) for n, final in enumerate([10.0, 2.0, 1.0, 2.0, 3.0])]
    assert [trial.number for trial in survivors(trials, 3)] == [2, 1]
    assert [trial.number for trial in survivors(trials, 2)] == [2, 1, 3]
    assert [trial.number for trial in survivors(trials, 1)] == [2, 1, 3, 4, 0]


def test_the_best_is_one_that_came_to_its_end():
    trials = [
        Trial(0, {}, final=1.0, stopped_early=True),
        Trial(1, {}, final=3.0),
        Trial(2, {}, final=2.0),
        Trial(3, {}, final=0.5, diverged=True),
    ]
    assert best_of(trials).number == 2
    with pytest.raises(RuntimeError, match="lower learning rates"):
        best_of(trials[:1])
