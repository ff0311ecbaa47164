"""Two workers of the loop with DeepSpeed agree on what is bad or urgent, though only one of them knows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.training.toy import final_weights, lines, same_weights

WORKER = Path(__file__).with_name("loop_worker.py")
ROOT = Path(__file__).resolve().parents[3]


def two_workers(tmp_path, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    commands = [
        [sys.executable, str(WORKER), str(tmp_path), str(rank), "2", f"file://{tmp_path}/init", *words]
        for rank in (0, 1)
    ]
    processes = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in commands]
    assert [process.wait(120) for process in processes] == [0, 0]
    return [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_workers_agree(tmp_path, stage):
    first, second = two_workers(tmp_path, str(stage))
    for record in (first, second):
        summary = record["summary"]
        assert (summary["rollbacks"], summary["skipped_samples"], summary["skipped_steps"]) == (1, 56, 1)
    assert first["summary"]["loss"] == second["summary"]["loss"]
    # The one of step 12 is of the bad steps: it is told twice if it was complete before they were gone back from.
    assert list(dict.fromkeys(location[-2:] for location in first["committed"])) == ["04", "08", "12", "16", "20"]
    assert first["committed"] == second["committed"]
    assert [said for said in first["said"] if "back to step 8" in said]
    assert second["said"] == []
    steps = [line for line in lines(tmp_path / "run") if "learning_rate" in line]
    assert [line["step"] for line in steps] == list(range(1, 21))
    assert [line["step"] for line in steps if "skipped" in line] == [6]
    groups = [line for line in steps if "phase_seconds" in line]
    assert all(line["slowest_to_median"] >= 1 and line["slowest_rank"] in (0, 1) for line in groups)


def test_what_the_first_worker_is_told_both_hear_at_the_same_step_and_nothing_changes(tmp_path):
    first, second = two_workers(tmp_path, "1", "7")
    assert first == second == {"whole": ["20"], "noticed": ["08", "20"]}
    assert same_weights(*(final_weights(tmp_path / name) for name in first))
    whole, noticed = (
        [line["loss"] for line in lines(tmp_path / name) if "learning_rate" in line] for name in ("whole", "noticed")
    )
    assert whole == noticed
