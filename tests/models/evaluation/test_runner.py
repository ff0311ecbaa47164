"""Actors compute on what Ray gave them, not on what their machine has."""

import pytest
import torch

from models.evaluation.runner import Answerer, unused_gpus
from models.evaluation.settings import RunSettings


def test_an_actor_without_gpus_leaves_those_of_its_machine_alone(
    model_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model = Answerer(model_directory)._model
    assert {parameter.device.type for parameter in model.model.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    ("actors", "asked", "gpus", "share"),
    [
        (2, 0, 8.0, "8 GPUs: run.gpus_per_actor=1"),
        (2, 0, 1.0, "1 GPU: run.gpus_per_actor=0.5"),
        (3, 0, 1.0, "1 GPU: run.gpus_per_actor=0.33"),
        (500, 0, 1.0, "1 GPU: run.gpus_per_actor=0.01"),
        (2, 0, 0.0, None),
        (2, 1, 8.0, None),
    ],
)
def test_gpus_that_are_left_alone_are_told_of(actors: int, asked: float, gpus: float, share: str | None) -> None:
    hint = unused_gpus(RunSettings(actors=actors, gpus_per_actor=asked), gpus)
    assert (hint is None) == (share is None)
    assert share is None or (hint or "").endswith(share)
