"""The engines agree over 20 steps: at any ZeRO stage, offloaded or not, at one and two workers, however a batch is cut.

The matrix is `CASES` in engines_worker.py; the default suite runs what differs most, the slow one every case.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.network import PRESETS, Transformer
from models.training.deepspeed_engine import deepspeed_config
from models.training.engine import OutOfMemory, memory_watched
from models.training.optimizers import parameter_groups
from models.training.settings import TrainingSettings
from tests.models.training.engines_worker import CASES

WORKER = Path(__file__).with_name("engines_worker.py")
ROOT = Path(__file__).resolve().parents[3]
ALONE = ["torch:interrupted", "torch-muon:interrupted", "torch-accumulated", "torch-checkpointed", "zero0:interrupted"]
ALONE += ["zero1:interrupted", "zero2", "zero3:interrupted", "zero1-muon", "zero3-muon", "zero1-offload"]
PAIR = ["zero1:interrupted", "zero2-accumulated", "zero3", "zero1-muon:interrupted", "zero1-ulysses"]
PAIR += ["zero2-small-buckets"]
EXACT = [case for case in CASES if "bf16" not in case]
SLOW_ALONE = [case for case in EXACT if "ulysses" not in case]
SLOW_PAIR = [f"{case}:interrupted" for case in EXACT if "torch" not in case]
# Compiled kernels add up in another order.
TOLERANCE = {"torch-compiled": 1e-4}


def run(directory: Path, world: int, cases: list[str], gpu: bool = False) -> dict:
    out, init = directory / f"{world}.json", f"file://{directory}/init-{world}"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    if not gpu:
        environment |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    commands = [[sys.executable, str(WORKER), str(out), str(rank), str(world), init, *cases] for rank in range(world)]
    processes = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in commands]
    assert [process.wait(1800) for process in processes] == [0] * world
    return json.loads(out.read_text())


def agree(found: dict, torch_runs: dict, world: int = 1) -> None:
    for case, values in found.items():
        # Workers with sequences of their own evaluated the same ones.
        times = 1 if "ulysses" in case else world
        expected = torch_runs["torch-muon" if case.endswith("muon") else "torch"]
        within = TOLERANCE.get(case, 1e-5)
        assert np.abs(np.subtract(values["losses"], expected["losses"])).max() <= within, case
        assert np.abs(np.subtract(values["norms"], expected["norms"])).max() <= 10 * within, case
        assert values["evaluated"] == pytest.approx(times * expected["evaluated"], rel=within), case
        assert values["losses"][-1] < values["losses"][0], case
        if "again" in values:
            assert values["skipped"] == [True, True, True], case
            assert values["same"], case
            assert values["again"] == values["losses"], case


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(tmp_path_factory.mktemp("alone"), 1, ALONE)


def test_at_one_worker_all_are_the_torch_engine(alone):
    agree(alone, alone)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return run(tmp_path_factory.mktemp("pair"), 2, PAIR)


def test_two_workers_train_like_one(alone, pair):
    agree(pair, alone, 2)


def test_workers_start_without_torchs_compiler(alone, pair):
    # The first cases of their processes: others may need it.
    assert not alone["torch"]["compiler"]
    assert not pair["zero1"]["compiler"]


def moved(directory: Path, saved_by: int, moves: list[tuple[str, str]], loaded_by: int) -> dict:
    """What becomes of checkpoints that so many workers with one engine wrote, and others with another go on from."""
    (directory / "from").mkdir()
    (directory / "to").mkdir()
    first = {one: directory / one for one, _ in moves}
    run(directory / "from", saved_by, [f"{one}:saves:{where}" for one, where in first.items()])
    return run(directory / "to", loaded_by, [f"{other}:goes_on:{first[one]}" for one, other in moves])


def same_curve(found: dict, exact: bool = False) -> None:
    for case, values in found.items():
        rest = values["losses"][-len(values["again"]) :]
        assert np.abs(np.subtract(values["again"], rest)).max() <= 1e-5, case
        assert values["same"] or not exact, case


@pytest.mark.slow
def test_fewer_workers_with_other_engines_go_on(tmp_path):
    same_curve(moved(tmp_path, 2, [("zero1", "zero3"), ("zero3", "torch"), ("zero1-muon", "zero2-muon")], 1))


@pytest.mark.slow
def test_more_workers_with_other_engines_go_on(tmp_path):
    same_curve(moved(tmp_path, 1, [("torch", "zero1"), ("zero1", "zero0"), ("torch-muon", "zero3-muon")], 2))


@pytest.mark.slow
@pytest.mark.parametrize(("saved_by", "loaded_by"), [(1, 2), (2, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("optimizer", ["", "-muon"])
def test_every_stage_goes_on_from_every_stage(tmp_path, saved_by, loaded_by, optimizer):
    for turn in range(4):
        directory = tmp_path / str(turn)
        directory.mkdir()
        moves = [(f"zero{stage}{optimizer}", f"zero{(stage + turn) % 4}{optimizer}") for stage in range(4)]
        same_curve(moved(directory, saved_by, moves, loaded_by))


@pytest.mark.slow
def test_the_whole_matrix(tmp_path):
    everything = run(tmp_path, 1, SLOW_ALONE)
    agree(everything, everything)
    agree(run(tmp_path, 2, SLOW_PAIR), everything, 2)


@pytest.mark.slow
def test_half_precision_stays_near(tmp_path):
    exact = run(tmp_path, 1, ["torch", "torch-muon"])
    for case, values in run(tmp_path, 1, [case for case in CASES if "bf16" in case]).items():
        expected = exact["torch-muon" if case.endswith("muon") else "torch"]
        assert np.abs(np.subtract(values["losses"], expected["losses"])).max() <= 0.05, case


@pytest.mark.gpu
def test_on_a_gpu_engines_agree_and_where_nothing_has_to_wait_nothing_does(tmp_path):
    cases = ["torch:interrupted", "torch-accumulated", "zero0", "zero1:interrupted", "zero2", "zero3"]
    exact = run(tmp_path, 1, cases, gpu=True)
    agree(exact, exact)
    half = [f"{case}:interrupted" for case in CASES if "bf16" in case or case.endswith("-muon")]
    found = run(tmp_path, 1, [case for case in half if "zero3-offload-all" not in case], gpu=True)
    for case, values in found.items():
        expected = found["torch-bf16-muon" if case.endswith("muon") else "torch-bf16"]
        assert np.abs(np.subtract(values["losses"], expected["losses"])).max() <= 0.05, case
        assert values["skipped"] == [True, True, True], case
    free = ("torch", "zero0", "zero2-bf16")
    assert {case: values["unread"] for case, values in (exact | found).items() if case.startswith(free)} == {
        case: True for case in exact | found if case.startswith(free)
    }


ON_A_CPU = """
import torch
torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 1
from models.training.deepspeed_engine import _deepspeed
print(_deepspeed(torch.device("cpu")).accelerator.get_accelerator().device_name())
"""


def test_a_worker_on_a_cpu_leaves_its_machines_gpus_alone():
    environment = {name: value for name, value in os.environ.items() if name != "DS_ACCELERATOR"}
    done = subprocess.run(
        [sys.executable, "-c", ON_A_CPU], check=True, env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == "cpu"


@pytest.mark.parametrize("gpu", [False, True])
def test_memory_is_pinned_and_communication_overlaps_where_workers_have_gpus(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: not gpu)
    settings = TrainingSettings(
        tokens=64, tokens_per_step=64, sequence_length=16, workers=2, zero_stage=3, offload="all"
    )
    zero = deepspeed_config(settings, 2, 1000, gpu)["zero_optimization"]
    assert zero["overlap_comm"] == zero["offload_optimizer"]["pin_memory"] == zero["offload_param"]["pin_memory"] == gpu


def test_only_matrices_decay():
    settings = TrainingSettings(tokens=64, tokens_per_step=64, sequence_length=16, weight_decay=0.1)
    groups = parameter_groups(Transformer(PRESETS["tiny"], seed=1), settings)
    assert {(p.ndim, group["weight_decay"]) for group in groups for p in group["params"]} == {(2, 0.1), (1, 0.0)}


@pytest.mark.parametrize(
    ("rows", "checkpointed", "advice"),
    [(8, False, "micro_batch=4"), (1, False, "checkpoint_activations=true"), (1, True, "sequence_parallel")],
)
def test_a_micro_batch_that_does_not_fit_says_what_to_try(rows, checkpointed, advice):
    settings = TrainingSettings(
        tokens=64, tokens_per_step=64, sequence_length=16, engine="torch", checkpoint_activations=checkpointed
    )
    batch = {"input_ids": np.zeros((rows, 16), np.int64)}
    with pytest.raises(OutOfMemory, match=advice), memory_watched(settings, batch):
        torch.empty(1 << 50, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shape"), memory_watched(settings, batch):
        torch.zeros(2).view(3)
