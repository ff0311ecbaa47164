"""jobs.faults: two trainings are compared by weights and losses; a difference is found, and said."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.faults import Run, compared, lines, main
from models.training.loop import train
from tests.models.training.toy import Reports, spec


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    train(spec(root / "calm"), Reports())
    with pytest.raises(KeyboardInterrupt):
        train(spec(root / "struck", checkpoint_every_steps=5), Reports(10))
    train(spec(root / "struck", checkpoint_every_steps=5), Reports())
    train(spec(root / "other", learning_rate=1e-4), Reports())
    return root


def test_a_run_that_was_cut_and_went_on_is_the_same(runs: Path) -> None:
    found = compared(str(runs / "calm"), str(runs / "struck"), [(12.0, "worker", "rank 1")])
    assert (found["equal"], found["within"], found["loss_difference"], found["attempts"]) == (True, True, 0.0, 2)
    assert found["kills"] == [{"seconds": 12.0, "kind": "worker", "what": "rank 1"}]
    assert lines(found)[0] == "final weights: the same bit for bit"
    json.dumps(found)


def test_another_run_is_not(runs: Path) -> None:
    found = compared(str(runs / "calm"), str(runs / "other"))
    assert not found["equal"]
    assert not found["within"]
    assert lines(found)[0] == "final weights: not the same bit for bit"


DRIVER = """
import json, os, sys, time
directory = sys.argv[1]
with open(f"{directory}/drives.jsonl", "a") as drives:
    print(json.dumps(sys.argv[2:]), file=drives)
if len(open(f"{directory}/drives.jsonl").readlines()) == 3:
    sys.exit(0)
told = {"phase": "training", "loss": 1.0, "processes": [["node", os.getpid()]]}
with open(f"{directory}/progress.json", "w") as progress:
    json.dump(told, progress)
time.sleep(60)
"""


def test_a_driver_that_was_killed_goes_on_with_what_is_there(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    recipe = SimpleNamespace(run_directory=str(tmp_path))
    run = Run(recipe, [sys.executable, str(tmp_path / "driver.py"), str(tmp_path)], dict(os.environ), 0.05, seed=1)
    assert run.go(2, ["driver"]) == 0
    assert [kind for _, kind, _ in run.kills] == ["driver", "driver"]
    drives = [json.loads(line) for line in (tmp_path / "drives.jsonl").read_text().splitlines()]
    assert drives == [["training.resume=false", "--force"], [], []]


def test_what_cannot_be_killed_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["recipe.yaml", "--kinds", "worker,planet"])
    assert "planet: expected some of worker, driver" in capsys.readouterr().err


def test_a_recipe_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
