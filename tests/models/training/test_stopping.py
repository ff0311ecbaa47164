"""A driver that is told to stop waits for a checkpoint of its workers, where there are any that train."""

import json
import signal
import threading
import time
from pathlib import Path

import pytest

from models.training.checkpoint import Checkpoints, Meta
from models.training.stopping import STOP, StopRequests, stops_with_checkpoint
from models.training.workers import Workers


def commit(directory: Path, step: int) -> None:
    checkpoints = Checkpoints(f"{directory}/checkpoints", Workers())
    checkpoints.save(Meta(step, step, step, 0, 0.0, 1, "run"), [])
    checkpoints.wait(required=True)


def tell(directory: Path, **values: object) -> None:
    (directory / "progress.json").write_text(json.dumps({"time": time.time(), **values}))


def stop() -> None:
    """Tell this process to stop; it handles the signal here, and would end."""
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM


@pytest.mark.parametrize("before", [None, 100])
def test_where_workers_train_it_is_a_checkpoint_that_was_not_there_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: int | None
) -> None:
    if before is not None:
        commit(tmp_path, before)

    def worker() -> None:
        requests = StopRequests(str(tmp_path))
        while requests.asked is None:
            time.sleep(0.01)
        commit(tmp_path, 190)

    training = threading.Thread(target=worker)
    with stops_with_checkpoint(str(tmp_path), "toy"):
        # Steps are told of now and then only: these are long past.
        tell(tmp_path, phase="training", **({} if before is None else {"steps": before, "of": 1000}))
        training.start()
        stop()
    training.join()
    assert "stopped with the checkpoint of step 190" in capsys.readouterr().out
    assert not (tmp_path / STOP).exists()


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({}, "no checkpoint"),
        ({"phase": "training", "steps": 100, "of": 1000, "time": 1.0}, "the checkpoint of step 100"),
        ({"phase": "starting", "steps": 100, "of": 1000}, "the checkpoint of step 100"),
        ({"phase": "training", "steps": 100, "of": 100}, "the checkpoint of step 100"),
    ],
)
def test_where_nobody_trains_it_is_the_one_that_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told: dict[str, object], kept: str
) -> None:
    if told:
        commit(tmp_path, 100)
    with stops_with_checkpoint(str(tmp_path), "toy"):
        tell(tmp_path, **told)
        began = time.monotonic()
        stop()
    assert time.monotonic() - began < 5
    assert f"stopped with {kept};" in capsys.readouterr().out
