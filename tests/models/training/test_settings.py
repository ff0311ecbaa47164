import pytest

from models.training.settings import TrainingSettings

FITTING = {"tokens": 1000, "tokens_per_step": 64, "sequence_length": 16}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens_per_step": 60}, "no multiple of sequence_length"),
        ({"workers": 3}, "shared evenly by 3 workers"),
        ({"engine": "torch", "workers": 2}, "engine torch has one worker"),
        ({"warmup_fraction": 0.6, "decay_fraction": 0.6}, "more than 1"),
        ({"deepspeed": {"optimizer": {}}}, "optimizer"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings.model_validate(FITTING | changes)


def test_the_budget_is_rounded_up_to_whole_steps():
    assert TrainingSettings.model_validate(FITTING).steps == 16
