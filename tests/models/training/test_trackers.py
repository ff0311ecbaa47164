import importlib.util
import math
import struct

import pyarrow.fs as pafs
import pytest

from models.training import trackers
from models.training.loop import train
from models.training.trackers import TensorBoard, flat
from tests.models.training.toy import Reports, lines, spec, stumbling


def scalars(directory):
    """{name: {step: value}} as TensorBoard shows them: files in order, purged where a later one begins."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    shown = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            if event.session_log.status == SessionLog.START and event.step:
                for steps in shown.values():
                    for step in [step for step in steps if step >= event.step]:
                        del steps[step]
            for value in event.summary.value:
                assert event.step not in shown.setdefault(value.tag, {}), "twice"
                shown[value.tag][event.step] = value.simple_value
    return shown


def test_tensorboard_has_every_step_once_after_a_crash_and_a_return(tmp_path, monkeypatch):
    stumbling(monkeypatch, math.nan)
    guard = {"window": 8, "bad_steps": 3}
    changes = {"checkpoint_every_steps": 4, "guard": guard, "trackers": ["tensorboard"], "validate_every_steps": 10}
    with pytest.raises(KeyboardInterrupt):
        train(spec(tmp_path, marked=range(88, 112), **changes), Reports(8))
    train(spec(tmp_path, marked=range(88, 112), **changes), Reports())
    shown = scalars(tmp_path / "tensorboard")
    expected = {line["step"]: line["loss"] for line in lines(tmp_path) if "phase_seconds" in line}
    assert shown["loss"] == pytest.approx(expected, rel=1e-6)
    assert sorted(expected) == [3, 4, 6, 8, 9, 10, 12, 15, 16, 18, 20]
    assert sorted(shown["validation/a"]) == [10, 20]


def test_where_files_cannot_grow_they_are_copied(tmp_path, monkeypatch):
    elsewhere = pafs.SubTreeFileSystem("/", pafs.LocalFileSystem())
    monkeypatch.setattr(trackers, "open_location", lambda location: (elsewhere, location))
    board = TensorBoard(spec(tmp_path), 0)
    board.log(1, {"loss": 2.0})
    board.close()
    assert scalars(tmp_path / "tensorboard") == {"loss": {1: 2.0}}


def test_a_missing_package_is_named_with_its_install_line_before_anything_starts(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else found(name))
    with pytest.raises(RuntimeError, match=r"pip install wandb$"):
        train(spec(tmp_path / "run", trackers=["tensorboard", "wandb"]), Reports())
    assert not (tmp_path / "run").exists()


def test_groups_of_figures_are_flattened_and_words_left_out():
    line = {"step": 3, "tokens": 9, "learning_rate": 1, "loss": 1.5, "gradient_norm": None, "bad": "not finite"}
    assert flat(line) == {"tokens": 9.0, "learning_rate": 1.0, "loss": 1.5}
    line = {"step": 3, "tokens": 9, "seconds": 3.5, "validation_loss": 1.5, "validation": {"a": 2}}
    assert flat(line) == {"validation_loss": 1.5, "validation/a": 2.0}


@pytest.mark.extra
def test_mlflow_goes_on_with_the_same_run_and_logs_no_step_twice(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    changes = {"checkpoint_every_steps": 5, "trackers": ["mlflow"]}
    with pytest.raises(KeyboardInterrupt):
        train(spec(tmp_path, **changes), Reports(10))
    train(spec(tmp_path, **changes), Reports())
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("groundwork").experiment_id])
    history = {each.step: each.value for each in client.get_metric_history(run.info.run_id, "loss")}
    expected = {line["step"]: line["loss"] for line in lines(tmp_path) if "phase_seconds" in line}
    assert history == pytest.approx(expected)
    assert len(client.get_metric_history(run.info.run_id, "loss")) == len(expected)
    assert run.data.params["training.learning_rate"] == "0.003"
    assert run.info.status == "FINISHED"


@pytest.mark.extra
def test_wandb_works_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(spec(tmp_path, trackers=["wandb"]), Reports())
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
