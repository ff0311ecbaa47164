"""What a run's driver tells while workers train, whatever state their files are in."""

import time
from pathlib import Path

import pytest

from models.training import asking, run
from models.training.asking import asked_for, resources_of_a_worker
from models.training.gauges import RunGauges
from models.training.journal import Journal
from models.training.run import _watch
from models.training.settings import TrainingSettings


def test_a_file_that_is_read_while_it_is_replaced_ends_no_telling(tmp_path: Path, local_ray: None) -> None:
    told: list[int] = []
    content = '{"steps": 3, "of": 9, "loss": 1.5, "tokens_per_second": 10}'
    (tmp_path / "progress.json").write_text(content + content[-20:])
    with _watch(str(tmp_path), RunGauges(str(tmp_path), "a"), lambda steps, of, note: told.append(steps), "no room"):
        time.sleep(1.5)
        assert told == []
        (tmp_path / "progress.json").write_text(content)
        deadline = time.monotonic() + 120
        while not told and time.monotonic() < deadline:
            time.sleep(0.1)
        assert told == [3]


def test_a_run_without_workers_says_so_at_the_begin_and_after_a_failure_and_else_never(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "_WAITING_SECONDS", 0.5)
    journal = Journal(str(tmp_path), "controller")

    def says(seconds: float) -> bool:
        """Whether it is said again within so many seconds."""
        capsys.readouterr()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.1)
            if "no room" in capsys.readouterr().out:
                return True
        return False

    with _watch(str(tmp_path), RunGauges(str(tmp_path), "a"), lambda steps, of, note: None, "no room"):
        assert says(300)
        journal.add("starting", workers=2)
        time.sleep(2)
        assert not says(3)
        journal.add("failure", cause="a node went", kind="worker")
        assert says(300)
        assert says(300)


def test_nothing_is_asked_for_early_where_the_cluster_cannot_grow(local_ray: None) -> None:
    """A busy cluster of a fixed size would only be kept busier."""
    with asked_for(3, {"CPU": 1}, {"role": "train"}) as asked:
        assert asked is None


def resources(device: str, workers: int | tuple[int, int], monkeypatch: pytest.MonkeyPatch, gpus: float, more: bool):
    """What each worker takes on a cluster that has so many GPUs within reach, and may bring more or not."""
    monkeypatch.setattr(asking, "within_reach", {"GPU": gpus}.__getitem__)
    monkeypatch.setattr(asking, "may_bring_more", {"GPU": more}.__getitem__)
    settings = TrainingSettings(
        tokens=640, tokens_per_step=64, sequence_length=16, workers=workers, device=device, threads=3
    )
    return resources_of_a_worker(settings, "toy")


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "expected"),
    [
        ("auto", 2, 0, {"CPU": 3}),
        ("auto", 2, 1, {"CPU": 3}),
        ("auto", 2, 2, {"GPU": 1}),
        ("auto", (1, 4), 1, {"GPU": 1}),
        ("auto", (2, 4), 1, {"CPU": 3}),
        ("cpu", 2, 8, {"CPU": 3}),
        ("gpu", 2, 2, {"GPU": 1}),
    ],
)
@pytest.mark.parametrize("more", [False, True])
def test_workers_take_gpus_where_there_is_one_for_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], device, workers, gpus, expected, more
) -> None:
    assert resources(device, workers, monkeypatch, gpus, more) == expected
    told = capsys.readouterr().out
    if device == "auto" and gpus > 0 and "CPU" in expected:
        assert told == (
            "toy: trains on CPUs: training.device=auto finds 1 GPU within reach, and 2 workers of one GPU each\n"
        )
    else:
        assert told == ""


def test_gpus_that_never_come_are_an_error_and_those_that_may_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resources("gpu", 4, monkeypatch, 0, more=True) == {"GPU": 1}
    with pytest.raises(ValueError, match=r"^toy: training\.device=gpu: 2 GPUs within reach, and 4 workers of one GPU"):
        resources("gpu", 4, monkeypatch, 2, more=False)
