"""The engines agree: with each other, at any ZeRO stage, at one and two workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.network import PRESETS, Transformer
from models.training.engine import TorchEngine
from models.training.optimizers import parameter_groups
from models.training.settings import TrainingSettings

WORKER = Path(__file__).with_name("engines_worker.py")
ROOT = Path(__file__).resolve().parents[3]


def start(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(WORKER), *map(str, arguments)], env=environment, cwd=ROOT)


@pytest.fixture(scope="module")
def equality(tmp_path_factory):
    out = tmp_path_factory.mktemp("engines") / "equality.json"
    assert start("equality", out).wait(120) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_deepspeed_is_torch(equality, stage):
    ours, theirs = equality["torch"], equality[f"zero{stage}"]
    assert np.abs(np.subtract(ours["losses"], theirs["losses"])).max() <= 1e-5
    assert np.abs(np.subtract(ours["norms"], theirs["norms"])).max() <= 1e-4
    assert ours["losses"][-1] < ours["losses"][0]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_step_that_is_not_finite_is_left_out(equality, stage):
    assert equality[f"guard{stage}"] == {"skipped": True, "same": True, "goes_on": True}


def test_two_workers_with_uneven_targets_train_like_one(equality, tmp_path):
    out, init = tmp_path / "two.json", f"file://{tmp_path}/init"
    processes = [start("world", out, rank, 2, init) for rank in (0, 1)]
    assert [process.wait(120) for process in processes] == [0, 0]
    two = json.loads(out.read_text())
    assert np.abs(np.subtract(equality["torch"]["losses"], two["losses"])).max() <= 1e-5


def test_only_matrices_decay():
    settings = TrainingSettings(tokens=64, tokens_per_step=64, sequence_length=16, weight_decay=0.1)
    groups = parameter_groups(Transformer(PRESETS["tiny"], seed=1), settings)
    assert {(p.ndim, group["weight_decay"]) for group in groups for p in group["params"]} == {(2, 0.1), (1, 0.0)}


def test_the_torch_engine_leaves_out_a_step_that_is_not_finite():
    settings = TrainingSettings(tokens=64, tokens_per_step=64, sequence_length=16, engine="torch")
    engine = TorchEngine(Transformer(PRESETS["tiny"], seed=1), settings, torch.device("cpu"))
    before = engine.state_dict()
    ids = np.arange(64).reshape(4, 16)
    batch = {"input_ids": ids, "labels": ids, "documents": np.zeros_like(ids)}
    engine.forward_backward(batch, torch.tensor(float("inf")))
    assert not engine.step(1e-3).applied
    assert all(torch.equal(value, engine.state_dict()[name]) for name, value in before.items())
    engine.forward_backward(batch, torch.tensor(1e-2))
    assert engine.step(1e-3).applied
    assert not all(torch.equal(value, engine.state_dict()[name]) for name, value in before.items())
