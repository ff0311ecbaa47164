import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import config, sole
from jobs.clusters.asks import Ask
from jobs.dry_run import Plan
from jobs.job import InputError, Job, Outcome, Recipe, finished, main, require
from pipelines import storage
from pipelines.storage import Location


class CountRecipe(Recipe, frozen=True):
    text: Location
    factor: int = 1


class Count(Job[CountRecipe]):
    """Counts the letters of a file."""

    name = "count"
    recipe = CountRecipe

    def __init__(self) -> None:
        self.runs = 0

    def inputs(self, recipe: CountRecipe) -> dict[str, str]:
        return {"text": require(recipe.text, "the test")}

    def plan(self, recipe: CountRecipe) -> Plan:
        return Plan([f"count {recipe.text}"], [Ask({"CPU": 1.0})])

    def run(self, recipe: CountRecipe) -> Outcome:
        self.runs += 1
        text = storage.read_bytes(recipe.text)
        if text == b"broken":
            raise RuntimeError("cannot count this")
        place = storage.join(recipe.output, "count.txt")
        storage.write_bytes(place, str(len(text) * recipe.factor).encode())
        return Outcome({"count": place}, {"letters": len(text)}, ["counted"])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("hello")
    path = tmp_path / "count.yaml"
    path.write_text(f"name: count\noutput: {tmp_path}/out\ntext: {tmp_path}/text.txt\n")
    return path


def test_a_job_writes_its_result_last_and_its_resolved_recipe(recipe: Path, tmp_path: Path) -> None:
    assert main(Count(), [str(recipe)]) == 0
    directory = tmp_path / "out" / "jobs" / "count"
    assert config.load(CountRecipe, directory / "recipe.yaml") == config.load(CountRecipe, recipe)
    result = json.loads((directory / "result.json").read_text())
    assert (result["status"], result["metrics"], list(result["inputs"])) == ("done", {"letters": 5}, ["text"])


def test_finished_work_is_not_done_again_until_recipe_or_input_changes(recipe: Path, tmp_path: Path) -> None:
    job = Count()
    for _ in range(2):
        assert main(job, [str(recipe)]) == 0
    assert job.runs == 1
    assert main(job, [str(recipe), "factor=2"]) == 0
    assert job.runs == 2
    (tmp_path / "text.txt").write_text("hello again")
    assert finished(job, config.load(CountRecipe, recipe, ["factor=2"])) is None
    assert main(job, [str(recipe), "factor=2"]) == 0
    assert job.runs == 3
    directory = tmp_path / "out/jobs/count"
    for name in ("log.txt", "old.txt"):
        (directory / name).touch()
    assert main(job, [str(recipe), "factor=2", "--force"]) == 0
    assert job.runs == 4
    # A chain may be writing the log.
    assert {path.name for path in directory.iterdir()} == {"log.txt", "recipe.yaml", "result.json"}


class Slow(Count):
    """Counts when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let = threading.Event(), threading.Event()

    def run(self, recipe: CountRecipe) -> Outcome:
        self.begun.set()
        assert self.let.wait(30)
        return super().run(recipe)


@pytest.fixture
def working(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """A driver that is at work on the recipe."""
    monkeypatch.setattr(sole, "RENEWED_SECONDS", 0.05)
    monkeypatch.setattr(sole, "STALE_SECONDS", 1.0)
    job = Slow()
    thread = threading.Thread(target=main, args=(job, [str(recipe)]))
    thread.start()
    assert job.begun.wait(30)
    yield job
    job.let.set()
    thread.join()


def test_a_second_driver_leaves_a_run_to_the_first(
    recipe: Path, working: Slow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = Count()
    assert main(second, [str(recipe), "factor=2", "--force"]) == 1
    assert f"{tmp_path}/out/jobs/count: process {os.getpid()} on " in capsys.readouterr().err
    assert second.runs == 0
    assert (tmp_path / "out/jobs/count/recipe.yaml").exists()


def test_what_the_first_driver_has_done_is_not_done_again(recipe: Path, working: Slow) -> None:
    threading.Timer(0.3, working.let.set).start()
    second = Count()
    assert main(second, [str(recipe)]) == 0
    assert (working.runs, second.runs) == (1, 0)


def test_json_last_line_has_the_five_keys(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(Count(), [str(recipe), "--json"]) == 0
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert set(line) == {"job", "status", "outputs", "metrics", "seconds"}
        assert line["metrics"] == {"letters": 5}


def test_dry_run_shows_recipe_plan_and_resources_and_does_nothing(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Count()
    assert main(job, [str(recipe), "--dry-run", "--json"]) == 0
    out = capsys.readouterr().out
    assert job.runs == 0
    assert not (tmp_path / "out").exists()
    assert f"text: {tmp_path}/text.txt" in out
    assert f"- count {tmp_path}/text.txt" in out
    assert "asks Ray for 1 CPU" in out
    assert json.loads(out.splitlines()[-1])["status"] == "dry-run"


def test_a_wrong_recipe_is_one_message_and_status_2(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Count(), [str(recipe), "facto=2"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("jobs.count: ")
    assert "'factor'" in error
    assert len(error.splitlines()) == 1
    assert main(Count(), [str(recipe.with_name("none.yaml"))]) == 2


def test_a_failure_is_status_1_leaves_no_result_and_says_so_in_json(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(Count(), [str(recipe)]) == 0
    (tmp_path / "text.txt").write_text("broken")
    assert main(Count(), [str(recipe), "--json"]) == 1
    shown = capsys.readouterr()
    assert "cannot count this" in shown.err
    assert json.loads(shown.out.splitlines()[-1])["status"] == "failed"
    assert not (tmp_path / "out" / "jobs" / "count" / "result.json").exists()


@pytest.mark.parametrize(("word", "status"), [("facto=2", 2), ("factor=2", 1)])
def test_a_refusal_is_a_sentence_and_the_last_line_of_json(
    word: str, status: int, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Refuses(Count):
        def run(self, recipe: CountRecipe) -> Outcome:
            raise InputError("another run's")

    assert main(Refuses(), [str(recipe), word, "--json"]) == status
    shown = capsys.readouterr()
    told = json.loads(shown.out.splitlines()[-1])
    assert set(told) == {"job", "status", "outputs", "metrics", "seconds", "error"}
    assert told["status"] == "failed"
    assert shown.err == f"jobs.count: {told['error']}\n"


def test_a_missing_input_names_the_file_and_who_makes_it(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").unlink()
    with pytest.raises(InputError, match=r"text\.txt: not there; it is made by the test"):
        Count().inputs(config.load(CountRecipe, recipe))
    assert main(Count(), [str(recipe)]) != 0
