"""The loop alone in a process: resume, validation, records."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from models.network import PRESETS, Transformer
from models.training.checkpoint import MARKER, Checkpoints, Meta
from models.training.data import IGNORED
from models.training.engine import TorchEngine
from models.training.loop import train
from models.training.prefetch import Prefetch
from models.training.reporter import AloneReporter
from models.training.settings import TrainingSettings
from models.training.spec import TrainingSpec
from models.training.validation import Validation
from models.training.workers import Workers

LENGTH = 16


class Toy:
    """Every second token follows from the one before; samples alternate between two sources."""

    sequence_length = LENGTH

    def __len__(self):
        return 100

    def source(self, index):
        return "ab"[index % 2]

    def batch(self, indices):
        rows = []
        for index in indices:
            tokens = np.random.default_rng(int(index)).integers(0, 256, LENGTH + 1)
            tokens[1::2] = (tokens[:-1:2] * 3 + 1) % 256
            rows.append(tokens)
        tokens = np.stack(rows)
        return {
            "input_ids": tokens[:, :-1].copy(),
            "labels": tokens[:, 1:].copy(),
            "documents": np.zeros((len(indices), LENGTH), np.int64),
        }


def spec(directory, **changes):
    values = {
        "tokens": 20 * 8 * LENGTH,
        "tokens_per_step": 8 * LENGTH,
        "sequence_length": LENGTH,
        "engine": "torch",
        "validation_sequences": 10,
        "log_every_steps": 3,
    }
    settings = TrainingSettings.model_validate(values | changes)
    where = None if directory is None else str(directory)
    return TrainingSpec(PRESETS["tiny"], None, settings, Toy, Toy, np.ones(256, np.int32), where, "toy", 1, "run")


class Stops(AloneReporter):
    """Ends the process's run after a checkpoint, as a crash would."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def committed(self, location, figures, checkpoints, keep):
        super().committed(location, figures, checkpoints, keep)
        if location.endswith(f"{self.step:08d}"):
            raise KeyboardInterrupt


def lines(directory):
    return [json.loads(line) for line in Path(directory, "metrics.jsonl").read_text().splitlines()]


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path):
    from safetensors.torch import load_file

    train(spec(tmp_path / "whole", checkpoint_every_steps=5), AloneReporter())
    with pytest.raises(KeyboardInterrupt):
        train(spec(tmp_path / "cut", checkpoint_every_steps=5), Stops(10))
    summary = train(spec(tmp_path / "cut", checkpoint_every_steps=5), AloneReporter())
    assert summary["resumed_from_step"] == 10
    whole, cut = (load_file(tmp_path / name / "final/model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    losses = [[line["loss"] for line in lines(tmp_path / name) if "loss" in line] for name in ("whole", "cut")]
    assert losses[0] == losses[1]


def test_an_uncommitted_checkpoint_is_removed_and_never_read(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(spec(tmp_path, checkpoint_every_steps=5), Stops(10))
    newest = tmp_path / "checkpoints" / "step-00000010"
    (newest / MARKER).unlink()
    assert train(spec(tmp_path, checkpoint_every_steps=5), AloneReporter())["resumed_from_step"] == 5


def test_only_the_newest_checkpoints_stay(tmp_path):
    train(spec(tmp_path, checkpoint_every_steps=4, keep_checkpoints=2), AloneReporter())
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000016", "step-00000020"]


def test_another_number_of_workers_is_refused(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "checkpoints"), Workers())
    checkpoints.save(Meta(5, 640, 40, 0, 1.0, 2, "run"), lambda directory: None)
    with pytest.raises(ValueError, match="written by 2 workers, this run has 1"):
        train(spec(tmp_path), AloneReporter())


def test_every_step_has_a_line_and_validation_by_source(tmp_path):
    summary = train(spec(tmp_path, validate_every_steps=10), AloneReporter())
    steps = [line for line in lines(tmp_path) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 21))
    assert steps[-1]["tokens"] == summary["tokens"] == 20 * 8 * LENGTH
    validated = [line for line in lines(tmp_path) if "validation_loss" in line]
    assert [line["step"] for line in validated] == [10, 20]
    assert validated[-1]["validation"].keys() == {"a", "b"}
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_without_a_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train(spec(None), AloneReporter())["steps"] == 20
    assert not list(tmp_path.iterdir())


def test_a_run_that_only_diverges_fails():
    class Poisoned(Toy):
        def batch(self, indices):
            return {**super().batch(indices), "labels": np.full((len(indices), LENGTH), IGNORED)}

    run = spec(None, learning_rate=1e30, max_bad_steps=3, warmup_fraction=0, clip=0)
    with pytest.raises(RuntimeError, match="not finite"):
        train(run, AloneReporter())
    empty = TrainingSpec(**{**run.__dict__, "training": spec(None).training, "dataset_factory": Poisoned})
    assert train(empty, AloneReporter())["loss"] == 0.0


def test_validation_is_the_same_however_it_is_cut():
    settings = spec(None).training
    engine = TorchEngine(Transformer(PRESETS["tiny"], seed=2), settings, torch.device("cpu"))
    sizes = np.arange(256, dtype=np.int32) % 3
    whole = Validation(Toy(), 10, 16, sizes, Workers())(engine)
    cut = Validation(Toy(), 10, 3, sizes, Workers())(engine)
    assert whole["validation_bits_per_byte"] == pytest.approx(cut["validation_bits_per_byte"], rel=1e-6)
    labels = Toy().batch(range(10))["labels"]
    nats = whole["validation_loss"] * labels.size
    assert whole["validation_bits_per_byte"] == pytest.approx(nats / np.log(2) / sizes[labels].sum(), rel=1e-6)


def test_prefetch_keeps_the_order_and_raises_in_place():
    def make(index):
        if index == 3:
            raise ValueError("three")
        return index

    with Prefetch(make, 0, 6) as items:
        each = iter(items)
        assert [next(each) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="three"):
            next(each)


def test_prefetch_tells_how_long_nothing_was_ready():
    def make(index):
        time.sleep(0.05)
        return index

    with Prefetch(make, 0, 4) as items:
        for _ in items:
            pass
    assert 0.15 < items.waited_seconds < 2
    with Prefetch(lambda index: index, 0, 4, ahead=4) as items:
        time.sleep(0.1)
        for _ in items:
            pass
    assert items.waited_seconds < 0.05
