"""A token store in a bucket: what a plan, a worker and an export copy of it, and to which machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pytest
import torch

from jobs.pretrain import JOB, PretrainRecipe
from models.network import Transformer, export_model
from models.training.pretraining import PretrainingData
from pipelines import storage
from pipelines.tokens import MixtureSettings, Samples, TokenStore
from pipelines.tokens.packing import PACKINGS
from tests.unsteady import serving

T = 32
LOCATION = "s3://bucket/tokens"
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bucket(store: TokenStore) -> Iterator[None]:
    """A copy of the store at `LOCATION`."""
    with serving():
        files, path = storage.filesystem(LOCATION)
        pafs.copy_files(store.location, path, destination_filesystem=files)
        yield


@pytest.fixture
def machine(bucket: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of a machine that has seen no store yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "machine"))
    (tmp_path / "machine").mkdir()
    return tmp_path / "machine"


def copied(machine: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in machine.rglob(f"*{suffix}"))


def recipe(tmp_path: Path, **changes: Any) -> PretrainRecipe:
    values = {
        "name": "far",
        "output": str(tmp_path / "out"),
        "tokens": LOCATION,
        "export": str(tmp_path / "export"),
        "model": {
            "vocabulary_size": 320,
            "hidden_size": 32,
            "layers": 1,
            "heads": 2,
            "kv_heads": 1,
            "feed_forward_size": 32,
        },
        "training": {"tokens": 512, "tokens_per_step": 64, "sequence_length": T},
    }
    return PretrainRecipe.model_validate(values | changes)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_plan_copies_indexes_alone(machine: Path, tmp_path: Path, store: TokenStore, packing: Any) -> None:
    planned = JOB.plan(recipe(tmp_path, packing=packing))
    assert f"packing {packing}" in planned.work[2]
    assert copied(machine, ".bin") == []
    assert copied(machine, ".idx")
    near, far = (Samples(each, "train", T, packing=packing) for each in (store, TokenStore(LOCATION)))
    assert far.packed() == near.packed()
    assert copied(machine, ".bin") == []


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_what_is_fetched_is_all_that_batches_need(machine: Path, store: TokenStore, packing: Any) -> None:
    mixture = MixtureSettings(weights={"web": 1})
    near, far = (Samples(each, "train", T, mixture, packing=packing) for each in (store, TokenStore(LOCATION)))
    far.fetch(0)
    assert copied(machine, ".bin") == []
    far.fetch(64)
    fetched = copied(machine, ".bin")
    assert {name.split(".")[0] for name in fetched} == {"web"}
    for ours, theirs in zip(near.batch(range(64)), far.batch(range(64)), strict=True):
        assert np.array_equal(ours, theirs)
    assert copied(machine, ".bin") == fetched


def test_training_fetches_its_data_through_the_objective(machine: Path, tmp_path: Path) -> None:
    data = recipe(tmp_path).data("train")
    assert isinstance(data, PretrainingData)
    data().fetch(16)
    assert copied(machine, ".bin")


def test_an_export_on_another_machine_finds_the_tokenizer(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drivers' machine is not the one where the task runs."""
    asked = recipe(tmp_path)

    def elsewhere(checkpoint: str, settings: Any, labels: Any, **arguments: Any) -> None:
        shutil.rmtree(machine)
        (tmp_path / "other").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "other"))
        export_model(Transformer(settings, seed=1).state_dict(), settings, **arguments)

    monkeypatch.setattr("models.training.conversion.export_on_ray", elsewhere)
    # A driver has such a copy of its own where it looked at the tokenizer.
    store = TokenStore(LOCATION)
    assert Path(store.tokenizer_directory).is_relative_to(machine)
    metrics = {"tokens": 512, "steps": 8, "workers": 1}
    JOB._export(asked, store, "checkpoint", metrics)
    own = storage.read_bytes(f"{LOCATION}/tokenizer/tokenizer.json")
    assert (tmp_path / "export/tokenizer.json").read_bytes() == own
    assert (tmp_path / "export/model.safetensors").exists()
