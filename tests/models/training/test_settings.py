import pytest

from models.training.settings import TrainingSettings

FITTING = {"tokens": 1000, "tokens_per_step": 64, "sequence_length": 16}
STAGE = {"tokens": 300, "tokens_per_step": 32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens_per_step": 60}, "no multiple of sequence_length"),
        ({"batch_ramp": [STAGE | {"tokens_per_step": 40}]}, "batch_ramp.0.tokens_per_step 40 is no multiple"),
        ({"batch_ramp": [STAGE, STAGE]}, "rise from one to the next"),
        ({"workers": 3}, "shared evenly by 3 workers"),
        ({"workers": [2, 1]}, r"expected \[fewest, most\]"),
        ({"workers": [1, 2], "sequence_parallel": 2}, "a fixed number, not 1 to 2 workers"),
        ({"workers": 4, "sequence_parallel": 3}, "sequence_parallel 3 divides workers 4"),
        ({"engine": "torch", "workers": 2}, "engine torch has one worker"),
        ({"warmup_fraction": 0.6, "decay_fraction": 0.6}, "more than 1"),
        ({"decays_at": [500]}, "belongs to the schedule wsd_s"),
        ({"schedule": "wsd_s", "decays_at": [500, 200]}, "rising numbers of tokens below 1000"),
        ({"schedule": "wsd_s", "decays_at": [1000]}, "below 1000"),
        ({"offload": "optimizer", "zero_stage": 0}, "zero_stage from 1 on"),
        ({"offload": "all", "zero_stage": 2}, "needs zero_stage 3, not 2"),
        ({"deepspeed": {"optimizer": {}}}, "optimizer"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings.model_validate(FITTING | changes)


def test_the_budget_is_rounded_up_to_whole_steps():
    assert TrainingSettings.model_validate(FITTING).steps == 16


def test_a_ramp_has_more_steps_of_fewer_tokens():
    # 10 steps of 32 tokens up to 320, then 11 of 64.
    assert TrainingSettings.model_validate(FITTING | {"batch_ramp": [STAGE]}).steps == 21
