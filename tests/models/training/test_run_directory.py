"""What a run's directory holds is removed only when somebody asks; it is continued by the very run that it is of."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.training import storage
from models.training.checkpoint import FORMAT_VERSION, Checkpoints
from models.training.loop import train
from models.training.run import _finished
from models.training.same_run import _RECORDS, NOT_OF_THE_RUN, OtherRunError, identity, make_room
from models.training.storage import DamagedError
from models.training.workers import Workers
from tests.models.training.toy import LENGTH, Reports, Toy, final_weights, lines, same_weights, spec
from tests.unsteady import Unsteady, serving


def made(start: str | None = None, **changes: object):
    run = spec(None, **changes)
    return identity(run.model, start, run.training, Toy(), 1)


def trained(directory, reports: Reports | None = None, **changes: object):
    """A run of a directory, as `fit` does it; what was told, and the final figures."""
    run = made(**changes)
    told = make_room(str(directory), run, bool(changes.get("resume", True)))
    whole = replace(spec(directory, **{**changes, "resume": True}), run=run.fingerprint)
    return told, train(whole, reports or Reports())


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Unsteady]:
    with serving() as server:
        yield server


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "deepspeed", "zero_stage": 3, "workers": [1, 2]},
        {"micro_batch": 2},
        {"checkpoint_activations": True},
        {"validate_every_steps": 5},
        {"validation_sequences": 3},
        {"deepspeed": {"wall_clock_breakdown": True, "zero_optimization": {"reduce_bucket_size": 1000}}},
    ],
)
def test_how_it_is_computed_does_not_make_another_run(changes: dict[str, object]) -> None:
    assert made(**changes).fingerprint == made().fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e-4},
        {"tokens_per_step": 64},
        {"optimizer": "muon"},
        {"deepspeed": {"communication_data_type": "bf16"}},
        {"deepspeed": {"zero_optimization": {"zero_quantized_gradients": True}}},
    ],
)
def test_what_it_comes_to_does(changes: dict[str, object]) -> None:
    assert made(**changes).fingerprint != made().fingerprint


def test_validation_changes_no_weight(tmp_path: Path) -> None:
    train(spec(tmp_path / "one"), Reports())
    train(spec(tmp_path / "other", validate_every_steps=2, validation_sequences=4), Reports())
    assert same_weights(final_weights(tmp_path / "one"), final_weights(tmp_path / "other"))


def test_runs_of_the_groundwork_before_keep_their_names() -> None:
    run = spec(None, validate_every_steps=5, deepspeed={"steps_per_print": 9})
    left_out = NOT_OF_THE_RUN - {"validate_every_steps", "validation_sequences"}
    settings = {key: value for key, value in run.training.model_dump(mode="json").items() if key not in left_out}
    described = json.dumps([run.model.model_dump(mode="json"), settings, None, 1, 100], sort_keys=True)
    digest = hashlib.sha256(described.encode())
    for values in Toy().batch([0, 1, 50, 99]).values():
        digest.update(np.ascontiguousarray(values).tobytes())
    assert identity(run.model, None, run.training, Toy(), 1).former == digest.hexdigest()[:16]


def test_weights_to_start_from_count_by_what_they_are(tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "config.json").write_text("{}")
    (export / "model.safetensors").write_bytes(b"one")
    before = made(str(export)).fingerprint
    assert made(f"{export}/").fingerprint == before != made().fingerprint
    assert made(f"file://{export}").fingerprint not in (before, made().fingerprint)
    by_uri = made(f"file://{export}").fingerprint
    os.utime(export / "model.safetensors", ns=(1, 1))
    assert made(str(export)).fingerprint != before
    assert made(f"file://{export}").fingerprint != by_uri


def test_a_run_to_start_from_counts_by_its_newest_checkpoint(tmp_path: Path) -> None:
    base = tmp_path / "base"
    changes = {"checkpoint_every_steps": 10}
    with pytest.raises(KeyboardInterrupt):
        train(spec(base, **changes), Reports(10))
    start = {"run": made(str(base)), "checkpoint": made(f"{base}/checkpoints/step-00000010")}
    assert start["run"].fingerprint == made(f"{base}/").fingerprint != start["checkpoint"].fingerprint
    (tmp_path / "final").mkdir()
    summary = {"run": start["run"].fingerprint, "checkpoint": f"{base}/checkpoints/step-00000010"}
    (tmp_path / "final/summary.json").write_text(json.dumps({**summary, "steps": 1, "tokens": 1}))
    settings = spec(None).training
    assert _finished(str(tmp_path), made(str(base)), settings) is not None
    train(spec(base, **changes), Reports())
    assert _finished(str(tmp_path), made(str(base)), settings) is None


def test_a_finished_run_with_another_validation_is_gone_on_with(tmp_path: Path) -> None:
    trained(tmp_path)
    run, settings = made(), spec(None).training
    assert _finished(str(tmp_path), run, settings) is not None
    assert _finished(str(tmp_path), run, settings.model_copy(update={"validation_sequences": 4})) is None


def test_a_bucket_is_looked_into(endpoint: Unsteady) -> None:
    start = "s3://bucket/start"
    storage.write_file(f"{start}/config.json", b"{}")
    storage.write_file(f"{start}/model.safetensors", b"one")
    before = made(start).fingerprint
    assert made(start).fingerprint == before
    storage.write_file(f"{start}/model.safetensors", b"other")
    assert made(start).fingerprint != before


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_other_weights_to_start_from_make_another_run(tmp_path: Path, scheme: str) -> None:
    made, weights = spec(None), tmp_path / "model.safetensors"

    def mark() -> str:
        return identity(made.model, f"{scheme}{tmp_path}", made.training, Toy(), 1).fingerprint

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
        make_room(str(tmp_path), made(), resume=True)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    make_room(str(tmp_path), made(), resume=False)
    assert not (tmp_path / "checkpoints").exists()


def test_checkpoints_of_this_run_stay(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, Reports(10), checkpoint_every_steps=10)
    told, summary = trained(tmp_path, checkpoint_every_steps=10, validate_every_steps=3)
    assert (told, summary["resumed_from_step"]) == ("", 10)


def test_so_do_those_that_were_named_when_validation_counted(tmp_path: Path) -> None:
    former = made(validate_every_steps=3).former
    with pytest.raises(KeyboardInterrupt):
        train(replace(spec(tmp_path, checkpoint_every_steps=10), run=former), Reports(10))
    told, summary = trained(tmp_path, validate_every_steps=3)
    assert (told, summary["resumed_from_step"]) == ("", 10)


def test_those_of_another_run_are_set_aside_and_found_again_by_theirs(tmp_path: Path) -> None:
    trained(tmp_path / "whole", checkpoint_every_steps=10)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        trained(run, Reports(10), checkpoint_every_steps=10)
    first = lines(run)
    aside = f"{run}/checkpoints.before-{made().fingerprint}"
    told, summary = trained(run, learning_rate=1e-4)
    assert "training.learning_rate is 0.0001 and was 0.003; step-00000010 of the run before" in told
    assert told.endswith(f"rm -r {aside}")
    assert summary["resumed_from_step"] == 0
    assert [meta.step for _, meta in Checkpoints(aside, Workers()).committed()] == [10]
    assert lines(aside) == first
    told, summary = trained(run, checkpoint_every_steps=10)
    assert "continues from what was in" in told
    assert summary["resumed_from_step"] == 10
    assert not Path(aside).exists()
    assert same_weights(final_weights(run), final_weights(tmp_path / "whole"))
    assert [line["step"] for line in lines(run) if "loss" in line] == list(range(1, 21))
    assert [meta.step for _, meta in Checkpoints(f"{run}/checkpoints", Workers()).committed()] == [10, 20]
    assert len(list(run.glob("checkpoints.before-*"))) == 1


@pytest.mark.parametrize("comes", ["the run itself", "the other one"])
def test_a_kill_between_records_and_checkpoints_loses_neither(tmp_path: Path, comes: str) -> None:
    """As it stands where setting aside, or bringing back, was cut short: records lie with the checkpoints."""
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, Reports(10), checkpoint_every_steps=10)
    first, records = lines(tmp_path), [name for name in _RECORDS if (tmp_path / name).exists()]
    assert records
    for name in records:
        (tmp_path / name).rename(tmp_path / "checkpoints" / name)
    itself = comes == "the run itself"
    make_room(str(tmp_path), made() if itself else made(learning_rate=1e-4), resume=True)
    aside = tmp_path / f"checkpoints.before-{made().fingerprint}"
    where = tmp_path if itself else aside
    assert lines(where) == first
    assert [name for name in _RECORDS if (where / name).exists()] == records
    kept = Checkpoints(str(tmp_path / "checkpoints" if itself else aside), Workers())
    assert [meta.step for _, meta in kept.committed()] == [10]


def test_without_resuming_they_are_removed(tmp_path: Path) -> None:
    trained(tmp_path, checkpoint_every_steps=10)
    trained(tmp_path, learning_rate=1e-4)
    told = make_room(str(tmp_path), made(), resume=False)
    assert "step-00000020 of the run before are removed: training.resume=false" in told
    assert f"checkpoints.before-{made().fingerprint} of this run is removed" in told
    assert not list(tmp_path.glob("checkpoints*"))


def test_where_directories_are_not_renamed_it_is_refused(endpoint: Unsteady) -> None:
    root = "s3://bucket/other"
    trained(root, tokens=4 * 8 * LENGTH)
    with pytest.raises(OtherRunError, match=r"step-00000004 of another run: training\.learning_rate is .*--force"):
        make_room(root, made(tokens=4 * 8 * LENGTH, learning_rate=1e-4), resume=True)
    assert [meta.step for _, meta in Checkpoints(f"{root}/checkpoints", Workers()).committed()] == [4]
    assert "are removed" in make_room(root, made(learning_rate=1e-4), resume=False)
    assert Checkpoints(f"{root}/checkpoints", Workers()).committed() == []
