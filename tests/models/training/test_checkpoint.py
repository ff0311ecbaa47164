"""Checkpoints: complete or not there, whatever fails; kept by count and milestone; every byte once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.training.checkpoint import MARKER, Checkpoints, Meta
from models.training.workers import Workers

ROOT = Path(__file__).resolve().parents[3]
DATA = bytes(range(256)) * 4000


def meta(step: int) -> Meta:
    return Meta(step=step, tokens=step, samples=step, skipped=0, seconds=0.0, world=1, run="run")


def write(directory: str) -> None:
    Path(directory, "deep").mkdir()
    Path(directory, "deep/part.bin").write_bytes(DATA)
    Path(directory, "other.bin").write_bytes(b"1")


def saved(root: Path, *steps: int, **options: int) -> Checkpoints:
    checkpoints = Checkpoints(str(root), Workers(), **options)
    for step in steps:
        checkpoints.save(meta(step), write)
        checkpoints.wait(required=True)
    return checkpoints


def test_what_was_saved_is_there_once_and_nothing_else(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path / "run", 7)
    (location,) = checkpoints.landed()
    assert checkpoints.newest() == (location, meta(7))
    files = {path.relative_to(location).as_posix(): path for path in Path(location).rglob("*") if path.is_file()}
    assert files.keys() == {"deep/part.bin", "other.bin", "rank-00000.json", "meta.json", MARKER}
    listed = json.loads(files["rank-00000.json"].read_text())["files"]
    assert sum(each["bytes"] for each in listed.values()) == len(DATA) + 1
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["step-00000007"]
    seen: list[bytes] = []
    checkpoints.load(location, lambda directory: seen.append(Path(directory, "deep/part.bin").read_bytes()))
    assert seen == [DATA]


def test_the_newest_and_the_milestones_stay(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, *range(1, 10), keep=2, milestone_every=4)
    assert [each.step for _, each in checkpoints.committed()] == [4, 8, 9]


@pytest.mark.parametrize("damage", ["short", "gone", "other"])
def test_a_damaged_file_is_named_when_it_is_loaded(tmp_path: Path, damage: str) -> None:
    checkpoints = saved(tmp_path, 3)
    path = tmp_path / "step-00000003/deep/part.bin"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(DATA[:-1] if damage == "short" else b"!" + DATA[1:])
    with pytest.raises(OSError, match=r"part\.bin: (its bytes|is not there|has 1,023,999 bytes, expected 1,024,000)"):
        checkpoints.load(str(tmp_path / "step-00000003"), lambda directory: pytest.fail("was loaded"))


def test_a_save_that_fails_is_told_and_the_one_before_stays(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)

    def fails(directory: str) -> None:
        write(directory)
        raise OSError(28, "No space left on device")

    checkpoints.save(meta(2), fails)
    checkpoints.wait()
    assert checkpoints.failed() == ["checkpoint of step 2 was not written: [Errno 28] No space left on device"]
    assert [each.step for _, each in checkpoints.committed()] == [1]
    checkpoints.save(meta(3), fails)
    with pytest.raises(RuntimeError, match="checkpoint of step 3 was not written"):
        checkpoints.wait(required=True)
    checkpoints.save(meta(4), write)
    checkpoints.wait(required=True)
    checkpoints.remove_incomplete()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000001", "step-00000004"]


FULL = """
import resource, sys
from pathlib import Path
from models.training.checkpoint import Checkpoints
from models.training.workers import Workers
from tests.models.training.test_checkpoint import meta, write
checkpoints = Checkpoints(sys.argv[1], Workers())
checkpoints.save(meta(1), write)
checkpoints.wait(required=True)
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
checkpoints.save(meta(2), write)
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
from tests.models.training.test_checkpoint import meta, write
checkpoints = Checkpoints(sys.argv[1], Workers())
checkpoints.save(meta(1), write)
checkpoints.wait(required=True)
slow = uploading.checksum
uploading.checksum = lambda path: time.sleep(60) if path.name == "other.bin" else slow(path)
checkpoints.save(meta(2), write)
print("uploading", flush=True)
time.sleep(60)
"""


def test_a_kill_while_a_part_is_on_its_way_leaves_the_one_before_the_newest(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "uploading\n"
    began = time.monotonic()
    while not (tmp_path / "step-00000002/deep/part.bin").exists():
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
