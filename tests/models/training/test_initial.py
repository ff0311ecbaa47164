"""What a run begins with is the same with every engine, and no worker of ZeRO 3 ever holds all of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.network import PRESETS, Transformer, export_model
from models.training.initial import FreshWeights, one_by_one, without_weights
from tests.models.training.toy import same_weights

WORKER = Path(__file__).with_name("initial_worker.py")
ROOT = Path(__file__).resolve().parents[3]
TINY = PRESETS["tiny"]
UNTIED = TINY.model_copy(update={"tied_embeddings": False})
CPU = torch.device("cpu")


def two_workers(directory, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    # Large tensors are given back as they are freed, whatever their order: what is held is what is used.
    environment["MALLOC_MMAP_THRESHOLD_"] = str(1 << 20)
    init = f"file://{directory}/init"
    commands = [[sys.executable, str(WORKER), str(directory), str(rank), "2", init, *words] for rank in (0, 1)]
    processes = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in commands]
    assert [process.wait(120) for process in processes] == [0, 0]


def parameters(network):
    return {name: weight.detach() for name, weight in network.named_parameters()}


@pytest.mark.parametrize("model", [TINY, UNTIED], ids=["tied", "untied"])
def test_parameters_come_one_by_one_as_the_same_objects_with_the_seeds_values(model):
    network = without_weights(model)
    before = dict(network.named_parameters())
    for parameter in one_by_one(network, FreshWeights(model, 3), torch.float32, CPU):
        later = list(before.values())[[each is parameter for each in before.values()].index(True) + 1 :]
        assert not parameter.is_meta
        assert all(each.is_meta for each in later)
    assert all(each is before[name] for name, each in network.named_parameters())
    assert (network.lm_head.weight is network.model.embed_tokens.weight) == model.tied_embeddings
    assert same_weights(parameters(network), parameters(Transformer(model, seed=3)))


def test_values_that_are_there_stay_in_the_precision_asked_for():
    network = Transformer(TINY, seed=3)
    list(one_by_one(network, None, torch.bfloat16, CPU))
    assert same_weights(parameters(network), parameters(Transformer(TINY, seed=3).bfloat16()))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Weights that engines of two workers begin with, by start and engine, and what they start from."""
    from tokenizers import Tokenizer, models

    out = tmp_path_factory.mktemp("begun")
    Tokenizer(models.BPE({"<|endoftext|>": 0, "a": 1}, [])).save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    trained = parameters(Transformer(TINY, seed=5))
    export_model(trained, TINY, str(out), str(out / "export"), "", dtype="bf16", max_shard_bytes=30_000)
    two_workers(out, "same", "seed=", f"directory={out}/export", f"checkpoint={out}/run")
    found = {path.stem: torch.load(path) for path in out.glob("*.pt")}
    expected = {
        "seed": parameters(Transformer(UNTIED, seed=1)),
        "directory": {name: value.bfloat16().float() for name, value in trained.items()},
        "checkpoint": trained,
    }
    return found, expected


@pytest.mark.slow
def test_every_engine_begins_with_the_same_weights(begun):
    found, expected = begun
    exact = {name: weights for name, weights in found.items() if "bf16" not in name}
    assert len(exact) == 9
    assert [name for name, weights in exact.items() if not same_weights(weights, expected[name.split(":")[0]])] == []


@pytest.mark.slow
def test_masters_of_half_precision_are_made_of_its_values(begun):
    found, expected = begun
    for start, weights in expected.items():
        halved = {name: value.bfloat16().float() for name, value in weights.items()}
        assert same_weights(found[f"{start}:zero3-bf16"], halved), start


@pytest.mark.slow
def test_no_worker_of_zero_3_holds_much_more_than_its_part(tmp_path):
    two_workers(tmp_path, "memory")
    for rank in (0, 1):
        figures = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        # A half of the parameters in a half of the bytes is a quarter.
        assert figures["most"] < 0.4 * figures["whole"], figures
