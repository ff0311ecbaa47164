"""Checkpoints: complete or not there, whatever fails; kept by count and milestone; every byte once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.training import storage, uploading
from models.training.checkpoint import MARKER, Checkpoints, Meta, stored_pieces
from models.training.pieces import Piece, write_pieces
from models.training.storage import DamagedError
from models.training.workers import Workers

ROOT = Path(__file__).resolve().parents[3]
VALUES = torch.arange(100_000, dtype=torch.float32)


def meta(step: int) -> Meta:
    return Meta(step=step, tokens=step, samples=step, skipped=0, seconds=0.0, world=1, run="run")


def pieces() -> list[Piece]:
    return [Piece("weight", "big", (100, 1000), 0, VALUES), Piece("momentum", "one", (1,), 0, torch.ones(1))]


def saved(root: Path, *steps: int, **options: int) -> Checkpoints:
    checkpoints = Checkpoints(str(root), Workers(), **options)
    for step in steps:
        checkpoints.save(meta(step), pieces())
        checkpoints.wait(required=True)
    return checkpoints


def test_what_was_saved_is_there_once_and_nothing_else(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path / "run", 7)
    (location,) = checkpoints.landed()
    assert checkpoints.newest() == (location, meta(7))
    files = {path.name: path for path in Path(location).iterdir()}
    assert files.keys() == {"rank-00000.safetensors", "rank-00000.json", "meta.json", MARKER}
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["step-00000007"]
    read = load_file(files["rank-00000.safetensors"])
    assert read.keys() == {"weight:big", "momentum:one"}
    assert torch.equal(read["weight:big"], VALUES.view(100, 1000))
    listed = json.loads(files["rank-00000.json"].read_text())
    assert listed["bytes"] == files["rank-00000.safetensors"].stat().st_size
    assert 0 < listed["bytes"] - VALUES.nbytes - 4 < 500
    wanted = [Piece("weight", "big", (100, 1000), 40, torch.empty(60))]
    checkpoints.load(location, wanted)
    assert torch.equal(wanted[0].values, VALUES[40:100])


def test_what_changes_after_a_save_began_is_not_saved(tmp_path: Path) -> None:
    values = VALUES.clone()
    checkpoints = Checkpoints(str(tmp_path), Workers())
    checkpoints.save(meta(1), [Piece("weight", "big", (100_000,), 0, values)])
    values.zero_()
    checkpoints.wait(required=True)
    assert torch.equal(stored_pieces(str(tmp_path / "step-00000001")).tensors()["big"], VALUES)


def test_a_save_keeps_rank_0_busy_until_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may = threading.Event()

    def held(*arguments: Any) -> Any:
        assert may.wait(300)
        return write_pieces(*arguments)

    monkeypatch.setattr(uploading, "write_pieces", held)
    checkpoints = Checkpoints(str(tmp_path), Workers())
    assert not checkpoints.busy
    checkpoints.save(meta(1), pieces())
    assert checkpoints.busy
    assert checkpoints.newest() is None
    may.set()
    checkpoints.wait(required=True)
    assert not checkpoints.busy
    assert checkpoints.newest() is not None


def test_the_newest_and_the_milestones_stay(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, *range(1, 10), keep=2, milestone_every=4)
    assert [each.step for _, each in checkpoints.committed()] == [4, 8, 9]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("short", r"ends after \d+,\d+ bytes, expected \d+,\d+ or more"),
        ("gone", "is not there"),
        ("other", r"bytes of big \(weight\) are not those that were written"),
    ],
)
def test_a_damaged_file_is_named_when_it_is_loaded(tmp_path: Path, damage: str, said: str) -> None:
    checkpoints = saved(tmp_path, 3)
    path = tmp_path / "step-00000003/rank-00000.safetensors"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-2000] if damage == "short" else data[:-2000] + b"!" + data[-1999:])
    with pytest.raises(DamagedError, match=rf"rank-00000\.safetensors: {said}"):
        checkpoints.load(str(tmp_path / "step-00000003"), pieces())


def test_a_save_that_fails_is_told_and_the_one_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, 1)

    def fails(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(uploading, "write_pieces", fails)
        patch.setattr(storage, "_PAUSE_SECONDS", 0.001)
        checkpoints.save(meta(2), pieces())
        checkpoints.wait()
        assert checkpoints.failed() == ["checkpoint of step 2 was not written: [Errno 28] No space left on device"]
        assert [each.step for _, each in checkpoints.committed()] == [1]
        checkpoints.save(meta(3), pieces())
        with pytest.raises(RuntimeError, match="checkpoint of step 3 was not written"):
            checkpoints.wait(required=True)
    checkpoints.save(meta(4), pieces())
    checkpoints.wait(required=True)
    checkpoints.remove_incomplete()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000001", "step-00000004"]


def test_what_storage_refuses_twice_is_written_at_the_third_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def refuses(*arguments: Any) -> Any:
        if len(refused) < 2:
            refused.append(1)
            raise OSError("no route to host")
        return write_pieces(*arguments)

    monkeypatch.setattr(uploading, "write_pieces", refuses)
    monkeypatch.setattr(storage, "_PAUSE_SECONDS", 0.001)
    checkpoints = saved(tmp_path, 1)
    assert len(refused) == 2
    assert [each.step for _, each in checkpoints.committed()] == [1]


FULL = """
import resource, sys
from pathlib import Path
from models.training.checkpoint import Checkpoints
from models.training.workers import Workers
from models.training import storage, uploading
from tests.models.training.test_checkpoint import meta, pieces
checkpoints = Checkpoints(sys.argv[1], Workers())
checkpoints.save(meta(1), pieces())
checkpoints.wait(required=True)
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
storage._PAUSE_SECONDS = 0.001
checkpoints.save(meta(2), pieces())
checkpoints.wait()
print(checkpoints.failed())
print([each.step for _, each in checkpoints.committed()])
"""


def test_a_file_system_that_takes_no_more_costs_one_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    failed, there = done.stdout.splitlines()
    assert "checkpoint of step 2 was not written" in failed
    assert "File too large" in failed
    assert there == "[1]"


KILLED = """
import sys, time
from models.training import uploading
from models.training.checkpoint import Checkpoints
from models.training.workers import Workers
from tests.models.training.test_checkpoint import meta, pieces
checkpoints = Checkpoints(sys.argv[1], Workers())
checkpoints.save(meta(1), pieces())
checkpoints.wait(required=True)
whole = uploading.write_pieces


def slow(sink, pieces, file):
    whole(sink, pieces, file)
    sink.flush()
    time.sleep(60)


uploading.write_pieces = slow
checkpoints.save(meta(2), pieces())
print("uploading", flush=True)
time.sleep(60)
"""


def test_a_kill_while_a_part_is_on_its_way_leaves_the_one_before_the_newest(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "uploading\n"
    began = time.monotonic()
    while not (tmp_path / "step-00000002/rank-00000.safetensors").exists():
        assert time.monotonic() - began < 20
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    checkpoints = Checkpoints(str(tmp_path), Workers())
    newest = checkpoints.newest()
    assert newest is not None
    assert newest[1].step == 1
    checkpoints.remove_incomplete()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
