"""What a run's directory holds is removed only when it is known to be of another run."""

from pathlib import Path

import pytest

from models.training.checkpoint import FORMAT_VERSION
from models.training.loop import train
from models.training.run import _clear_others, _fingerprint
from models.training.storage import DamagedError
from tests.models.training.toy import Reports, Toy, spec


def mark(**changes: object) -> str:
    made = spec(None, **changes)
    return _fingerprint(made.model, None, made.training, Toy(), 1)


@pytest.mark.parametrize(
    "changes",
    [{"engine": "deepspeed", "zero_stage": 3, "workers": [1, 2]}, {"micro_batch": 2}, {"checkpoint_activations": True}],
)
def test_how_it_is_computed_does_not_make_another_run(changes: dict[str, object]) -> None:
    assert mark(**changes) == mark()


@pytest.mark.parametrize("changes", [{"learning_rate": 1e-4}, {"tokens_per_step": 64}, {"optimizer": "muon"}])
def test_what_it_comes_to_does(changes: dict[str, object]) -> None:
    assert mark(**changes) != mark()


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_other_weights_to_start_from_make_another_run(tmp_path: Path, scheme: str) -> None:
    made, weights = spec(None), tmp_path / "model.safetensors"

    def mark() -> str:
        return _fingerprint(made.model, f"{scheme}{tmp_path}", made.training, Toy(), 1)

    weights.write_bytes(b"one")
    before = mark()
    (tmp_path / "README.md").write_text("card")
    assert mark() == before
    weights.write_bytes(b"another")
    assert mark() != before


def test_checkpoints_of_an_older_format_are_not_removed(tmp_path: Path) -> None:
    train(spec(tmp_path, checkpoint_every_steps=10), Reports())
    for step in (10, 20):
        location = tmp_path / f"checkpoints/step-{step:08d}"
        meta = (
            (location / "meta.json").read_text().replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 2')
        )
        (location / "meta.json").write_text(meta)
        (location / "COMMITTED").write_bytes(b"")
    with pytest.raises(
        DamagedError, match=rf"training\.resume=false.*has format 2, this groundwork reads {FORMAT_VERSION}"
    ):
        _clear_others(str(tmp_path), "run", resume=True)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    _clear_others(str(tmp_path), "run", resume=False)
    assert not (tmp_path / "checkpoints").exists()


def test_checkpoints_of_another_run_are_named_and_removed_and_those_of_this_one_stay(tmp_path: Path) -> None:
    train(spec(tmp_path, checkpoint_every_steps=10), Reports())
    assert _clear_others(str(tmp_path), "run", resume=True) == []
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert _clear_others(str(tmp_path), "other", resume=True) == ["step-00000010", "step-00000020"]
    assert not (tmp_path / "checkpoints").exists()
