"""Ray Train with DeepSpeed on two workers: it learns, commits, and exports what it trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs import head

ROOT = Path(__file__).resolve().parents[3]
LENGTH = 32

DRIVER = """
import functools, json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from jobs.job import connect
from models.network import PRESETS
from models.training import TrainingSettings, fit
from toy_for_fit import Toy

if __name__ == "__main__":
    out = sys.argv[2]
    connect()
    settings = TrainingSettings(
        tokens=60 * 512, tokens_per_step=512, sequence_length=32, micro_batch=4, workers=2, zero_stage=1,
        learning_rate=1e-2, checkpoint_every_steps=20, validate_every_steps=30, validation_sequences=16,
        max_failures=1,
    )
    seen = []
    toy = functools.partial(Toy, out + "/faults")
    result = fit(PRESETS["tiny"], None, settings, toy, toy, np.ones(256, np.int32), out,
                 "toy", 1, lambda *told: seen.append(told))
    record = {"metrics": result.metrics, "checkpoint": result.checkpoint, "steps": result.steps, "told": len(seen)}
    open(out + "/record.json", "w").write(json.dumps(record))
"""

TOY = """
import os, resource
import numpy as np

class Toy:
    sequence_length = 32

    def __init__(self, faults):
        self.faults, self.batches = faults, 0

    def __len__(self):
        return 5000

    def batch(self, indices):
        self.batches += 1
        if self.batches == 20:
            self.note_faults()
        rows = []
        for index in indices:
            tokens = np.random.default_rng(int(index)).integers(0, 256, 33)
            tokens[1::2] = (tokens[:-1:2] * 3 + 1) % 256
            rows.append(tokens)
        tokens = np.stack(rows)
        return {"input_ids": tokens[:, :-1].copy(), "labels": tokens[:, 1:].copy(),
                "documents": np.zeros((len(rows), 32), np.int64)}

    def note_faults(self):
        before = 0
        for again in range(7):
            if again == 2:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            held = [np.ones(3_000_000 + 100_000 * i, np.float32) for i in range(12)]
            del held
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        with open(self.faults + str(os.getpid()), "w") as file:
            file.write(str(faults))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fit")
    (directory / "toy_for_fit.py").write_text(TOY)
    (directory / "driver.py").write_text(DRIVER)
    with head.running(directory) as running:
        yield directory, {**os.environ, **running.environment(), "OMP_NUM_THREADS": "1"}


def drive(cluster, name):
    directory, environment = cluster
    out = directory / name
    out.mkdir(exist_ok=True)
    environment = {**environment, "PYTHONPATH": f"{ROOT}:{directory}"}
    command = [sys.executable, str(directory / "driver.py"), str(directory), str(out)]
    done = subprocess.run(command, check=False, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    losses = {}
    for line in (out / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        if "loss" in values:
            losses[values["step"]] = values["loss"]
    return out, json.loads((out / "record.json").read_text()), losses


@pytest.fixture(scope="module")
def whole(cluster):
    return drive(cluster, "whole")


@pytest.mark.slow
def test_the_loss_goes_down_and_checkpoints_are_committed(whole):
    out, record, losses = whole
    assert sorted(losses) == list(range(1, 61))
    assert losses[60] < losses[1] - 1.0
    assert record["steps"] == 60
    assert record["told"] >= 1
    kept = sorted(path.name for path in (out / "checkpoints").glob("step-*"))
    assert kept == ["step-00000040", "step-00000060"]
    assert all((out / "checkpoints" / name / "COMMITTED").exists() for name in kept)
    assert json.loads(Path(record["checkpoint"], "meta.json").read_text())["world"] == 2


@pytest.mark.slow
def test_a_worker_keeps_the_memory_that_its_threads_free(whole):
    """Five times 170 MB in a thread: 8,000 faults and more from an arena of its own, which gives empty heaps back."""
    out, _, _ = whole
    faults = {path.name: int(path.read_text()) for path in out.glob("faults*")}
    assert len(faults) >= 2
    assert max(faults.values()) < 2000, faults


@pytest.mark.slow
def test_the_export_is_the_trained_network(whole, tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM

    from models.network import PRESETS, Transformer
    from models.training.conversion import export_checkpoint, weights

    _, record, _ = whole
    Tokenizer(models.BPE({"<|endoftext|>": 0, "a": 1}, [])).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    network = Transformer(PRESETS["tiny"], seed=9)
    network.load_state_dict(weights(record["checkpoint"]), strict=False)
    to = {"tokenizer_directory": str(tmp_path), "out": str(tmp_path / "export"), "card": ""}
    export_checkpoint(record["checkpoint"], PRESETS["tiny"], **to)
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, LENGTH)))
    with torch.no_grad():
        ours = network(ids)
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "export")(ids).logits
    assert float((ours - theirs).abs().max()) <= 1e-4
