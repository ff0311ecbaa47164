"""A real search: a sane learning rate wins, each rung keeps the best, diverged trials do not break it."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# The quickstart's test has a search, too.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]

DRIVER = """
import dataclasses, json, os, sys
import numpy as np
os.environ["RAY_AUTH_MODE"] = "disabled"
import ray
from models.network import PRESETS
from models.training import TrainingSettings
from models.tuning import SearchSettings, best_of, search_on_ray

class Toy:
    sequence_length = 16

    def __len__(self):
        return 5000

    def batch(self, indices):
        rows = []
        for index in indices:
            tokens = np.random.default_rng(int(index)).integers(0, 256, 17)
            tokens[1::2] = (tokens[:-1:2] * 3 + 1) % 256
            rows.append(tokens)
        tokens = np.stack(rows)
        return {"input_ids": tokens[:, :-1].copy(), "labels": tokens[:, 1:].copy(),
                "documents": np.zeros((len(rows), 16), np.int64)}

if __name__ == "__main__":
    out = sys.argv[1]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[2])
    search = SearchSettings(
        space={"learning_rate": {"low": 1e-4, "high": 1e6}, "tokens_per_step": [256],
               "weight_decay": {"low": 0.01, "high": 0.02}},
        trials=8, tokens=9 * 2048, first_rung_tokens=2048, reduction=3, proxy=PRESETS["tiny"], validation_sequences=16)
    base = TrainingSettings(tokens=1 << 20, tokens_per_step=256, sequence_length=16, micro_batch=16)
    told = []
    trials = search_on_ray(search, base, Toy, Toy, np.ones(256, np.int32), out + "/ray", "search", 3,
                           lambda *each: told.append(each))
    record = {"trials": [dataclasses.asdict(t) for t in trials], "best": best_of(trials).number, "told": len(told)}
    open(out + "/record.json", "w").write(json.dumps(record))
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    import tempfile

    out = tmp_path_factory.mktemp("search")
    (out / "driver.py").write_text(DRIVER)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="gw-") as short:
        command = [sys.executable, str(out / "driver.py"), str(out), short]
        done = subprocess.run(
            command, check=False, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "record.json").read_text())


def test_every_trial_reports_at_rungs_only(record):
    for trial in record["trials"]:
        assert [rung["tokens"] for rung in trial["rungs"]] == [2048, 6144, 18432][: len(trial["rungs"])]
        assert trial["rungs"]
    assert record["told"] == sum(len(trial["rungs"]) for trial in record["trials"])


def test_the_best_third_goes_on_at_each_rung(record):
    reached = [[t for t in record["trials"] if len(t["rungs"]) > rung] for rung in range(3)]
    assert [len(each) for each in reached] == [8, 3, 1]
    for rung, (tried, kept) in enumerate(itertools.pairwise(reached)):
        ended = [trial for trial in tried if trial not in kept]
        worst = max(trial["rungs"][rung]["objective"] for trial in kept)
        assert all(trial["rungs"][rung]["objective"] >= worst for trial in ended)


def test_the_best_has_a_sane_learning_rate(record):
    best = record["trials"][record["best"]]
    assert best["rungs"][-1]["tokens"] == 18432
    assert best["config"]["learning_rate"] < 1
    assert not best["diverged"]


def test_diverged_trials_end_with_a_finite_number(record):
    diverged = [trial for trial in record["trials"] if trial["config"]["learning_rate"] > 1e3]
    assert diverged
    assert all(trial["final"] >= 8.0 or trial["diverged"] for trial in diverged)
    assert all(trial["final"] <= 1e4 for trial in diverged)
