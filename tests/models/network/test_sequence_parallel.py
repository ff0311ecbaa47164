"""Sequences shared by workers: the same logits, losses and gradients as of whole rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.network.documents import Documents
from models.network.sequence_parallel import SequenceGroup, share_sequences
from tests.models.network.sequence_parallel_worker import batch, network

WORKER = Path(__file__).with_name("sequence_parallel_worker.py")
ROOT = Path(__file__).resolve().parents[3]

SEVERAL = [[24, 40], [5, 1, 30, 28]]  # a border within a part, one at the parts' border, documents over both
SHORT = [[2] * 32, [4] * 16]


def case(lengths, checkpoints=False, **model):
    return {"model": {"heads": 4, "kv_heads": 2} | model, "lengths": lengths, "checkpoints": checkpoints, "seed": 5}


CASES = {
    "one document a row": case([[64], [64]]),
    "several documents": case(SEVERAL),
    "very short documents": case(SHORT),
    "documents and a window": case(SEVERAL, window=7, full_attention_every=2),
    "a window alone": case([[64]], window=9, full_attention_every=2),
    "one key/value head": case(SEVERAL, kv_heads=1),
    "three key/value heads": case(SEVERAL, heads=6, kv_heads=3, head_size=8),
    "as many key/value heads": case(SEVERAL, kv_heads=4),
    "an encoder": case(SEVERAL, architecture="encoder"),
    "queries and keys normed": case(SEVERAL, qk_norm="head"),
    "checkpoints": case(SEVERAL, checkpoints=True, window=7, full_attention_every=2),
    "yarn": case([[64]], rope_scaling={"type": "yarn", "factor": 4, "original_positions": 16}, maximum_positions=64),
}


def run(directory, cases, world):
    """What `world` workers make of the cases."""
    given, out, init = directory / "cases.jsonl", directory / "out.pt", f"file://{directory}/init"
    given.write_text("".join(json.dumps(each) + "\n" for each in cases))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(WORKER), str(given), str(out)]
    workers = [
        subprocess.Popen([*command, str(rank), str(world), init], env=environment, cwd=ROOT) for rank in range(world)
    ]
    assert [worker.wait(120) for worker in workers] == [0] * world
    return torch.load(out)


def alone(each):
    model, whole = network(each), batch(each)
    tokens, labels, numbers = (torch.from_numpy(whole[name]) for name in ("input_ids", "labels", "documents"))
    loss, count = model.token_loss(tokens, labels, numbers)
    loss.backward()
    found = {name: weight.grad for name, weight in model.named_parameters()}
    with torch.no_grad():
        logits = model(tokens, numbers)
    return found | {"loss": loss.detach(), "count": count, "logits": logits}


def check(shared, each):
    expected = alone(each)
    assert shared.keys() == expected.keys()
    assert shared["count"] == expected["count"]
    assert (shared["loss"] - expected["loss"]).abs() <= 1e-5 * expected["loss"]
    for name, value in expected.items():
        assert (shared[name] - value).double().norm() <= 2e-5 * value.double().norm(), name


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return run(tmp_path_factory.mktemp("two"), CASES.values(), 2)


@pytest.mark.parametrize("name", CASES)
def test_two_workers_compute_what_one_does(two, name):
    check(two[list(CASES).index(name)], CASES[name])


@pytest.mark.slow
def test_four_workers_with_fewer_key_value_heads_do_too(tmp_path):
    cases = [case(SEVERAL, kv_heads=k, heads=h, head_size=8) for h, k in ((4, 1), (4, 2), (12, 6), (8, 8))]
    for shared, each in zip(run(tmp_path, cases, 4), cases, strict=True):
        check(shared, each)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_parts_are_the_rows(size):
    whole = batch(CASES["several documents"])
    groups = [SequenceGroup(place, size) for place in range(size)]
    parts = [group.part(whole) for group in groups]
    for name in ("input_ids", "labels"):
        assert np.array_equal(np.concatenate([part[name] for part in parts], 1), whole[name])
    told = [group.documents(whole["documents"]) for group in groups]
    expected = Documents.of(whole["documents"])
    assert torch.equal(torch.cat([each.positions for each in told], 1), expected.positions)
    assert all(each.lengths == expected.lengths and torch.equal(each.bounds, expected.bounds) for each in told)


def test_what_cannot_be_shared_is_refused():
    model = network(CASES["one document a row"])
    with pytest.raises(ValueError, match="4 heads cannot be shared by 3"):
        share_sequences(model, SequenceGroup(0, 3))
    with pytest.raises(ValueError, match="64 positions cannot be shared by 3"):
        SequenceGroup(0, 3).part(batch(CASES["one document a row"]))
