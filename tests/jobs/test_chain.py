"""The chain's own part: order, recognition, resuming, its account; jobs here write a file each."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import chain
from jobs.chaining import run, stages
from jobs.chaining.run import Chain, ChainStopped, Ended, StageFailed, table
from jobs.chaining.stages import STAGES, Stage, load
from jobs.clusters.asks import Ask
from jobs.config import RecipeError
from jobs.dry_run import Plan
from jobs.job import Job, Outcome, Recipe, main, require
from pipelines import storage
from pipelines.storage import Location


class CopyRecipe(Recipe, frozen=True):
    source: Location
    recipe: Location = "none"
    fail: bool = False


class Copy(Job[CopyRecipe]):
    """Copies a file; done work is recognised by the frame."""

    name = "copy"
    recipe = CopyRecipe

    def inputs(self, recipe: CopyRecipe) -> dict[str, str]:
        return {"source": require(recipe.source, "the stage before")}

    def plan(self, recipe: CopyRecipe) -> Plan:
        return Plan([f"copy {recipe.source}"], [Ask({"CPU": 1.0})])

    def run(self, recipe: CopyRecipe) -> Outcome:
        if recipe.fail:
            raise RuntimeError("told to fail")
        place = storage.join(recipe.output, f"{recipe.name}.txt")
        storage.write_bytes(place, storage.read_bytes(recipe.source) + recipe.name.encode())
        return Outcome({"copy": place}, {})


class Here:
    """Runs a stage in this process."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stop_at = ""

    def run(self, stage: Stage, recipe: Path, label: str, emit: Callable[[str], None]) -> Ended:
        self.ran.append(stage.name)
        emit(f"this is {stage.name}")
        if stage.name == self.stop_at:
            return Ended("STOPPED", 143, ())
        code = main(Copy(), [str(recipe), *stage.overrides])
        return Ended("SUCCEEDED" if code == 0 else "FAILED", code, ("why",), 7)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """a -> b -> c, each copying what the one before wrote."""
    monkeypatch.setattr(stages, "load_job", lambda name: Copy())
    (tmp_path / "source.txt").write_text("text ")
    before = "source"
    for name in "abc":
        source = tmp_path / ("source.txt" if before == "source" else f"out/{before}.txt")
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\noutput: {tmp_path}/out\nsource: {source}\n")
        before = name
    (tmp_path / "chain.yaml").write_text("stages: [{name: a}, {name: b, job: copy}, {name: c}]\n")
    return tmp_path


def chained(place: Path, *words: str, first: str | None = None, stop_at: str = "") -> tuple[list[str], Chain]:
    runner = Here()
    runner.stop_at = stop_at
    made = Chain(load(str(place / "chain.yaml"), words), runner, lambda records: None)
    made.run(first)
    return runner.ran, made


def account(place: Path) -> list[tuple[str, str]]:
    records = json.loads((place / "out/stages.json").read_text())
    return [(record["stage"], record["status"]) for record in records]


def test_stages_run_in_order_once_and_again_only_what_changed(place: Path) -> None:
    assert chained(place)[0] == ["a", "b", "c"]
    assert (place / "out/c.txt").read_text() == "text abc"
    assert chained(place)[0] == []
    assert chained(place, "b.seed=7")[0] == ["b"]
    (place / "source.txt").write_text("other ")
    assert chained(place)[0] == ["a", "b", "c"]
    assert account(place) == [("a", "SUCCEEDED"), ("b", "SUCCEEDED"), ("c", "SUCCEEDED")]
    log = place / "out/jobs/b/log.txt"
    assert log.read_text() == "this is b\n"


def test_it_stops_at_a_failed_stage_and_goes_on_there(place: Path) -> None:
    with pytest.raises(StageFailed, match="stage b ended FAILED") as caught:
        chained(place, "b.fail=true")
    assert caught.value.exit_code == 1
    assert account(place) == [("a", "SUCCEEDED"), ("b", "FAILED"), ("c", "WAITING")]
    with pytest.raises(ChainStopped, match="stage b"):
        chained(place, stop_at="b")
    assert account(place) == [("a", "SUCCEEDED"), ("b", "STOPPED"), ("c", "WAITING")]
    assert chained(place)[0] == ["b", "c"]


def test_from_takes_what_is_before_as_it_is(place: Path) -> None:
    (place / "out").mkdir()
    (place / "out/a.txt").write_text("by hand ")
    assert chained(place, first="b")[0] == ["b", "c"]
    assert (place / "out/c.txt").read_text() == "by hand bc"


def test_a_recipe_that_an_earlier_stage_writes_is_read_when_it_is_there(place: Path) -> None:
    (place / "a.yaml").write_text((place / "a.yaml").read_text() + f"recipe: {place}/written.yaml\n")
    (place / "chain.yaml").write_text("stages: [{name: a}, {name: d, job: copy, recipe_of: a}]\n")
    made = load(str(place / "chain.yaml"))
    assert made.recipe_of(made.stages[1]) == place / "written.yaml"
    (place / "written.yaml").write_text(f"name: d\noutput: {place}/out\nsource: {place}/out/a.txt\n")
    assert chained(place)[0] == ["a", "d"]


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("stages: []", (), "stages: "),
        ("stages: [{name: a}, {name: a}]", (), "two stages are named 'a'"),
        ("stages: [{name: a, recipe_of: b}, {name: b}]", (), "recipe_of 'b' is no stage before it"),
        ("stages: [{name: a, recipes: b.yaml}]", (), "did you mean 'recipe'?"),
        ("stages: [{name: a}]", ("seed=3",), "expected STAGE.key=value"),
        ("stages: [{name: abc}]", ("abd.seed=3",), "did you mean abc?"),
        ("stages: [{name: z}]", (), "z.yaml: no such recipe"),
    ],
)
def test_a_wrong_chain_is_named(place: Path, text: str, words: tuple[str, ...], told: str) -> None:
    (place / "chain.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r".*" + told.replace("?", r"\?").replace(".", r"\.")):
        load(str(place / "chain.yaml"), words)


def test_a_directory_is_its_recipes_in_the_standing_order() -> None:
    found = load(str(storage.checkout() / "jobs/recipes/quickstart"))
    assert [stage.name for stage in found.stages] == [stage.name for stage in STAGES]
    shipped = load(str(storage.checkout() / "jobs/recipes/chain.yaml"))
    assert [stage.job for stage in shipped.stages][:4] == ["curate", "tokenize", "tune", "pretrain"]
    assert shipped.recipe_of(shipped.stages[3]) == found.recipe_of(found.stages[3])
    with pytest.raises(RecipeError, match="no recipe of a known stage"):
        load(str(storage.checkout() / "cluster"))


def test_the_dry_run_tells_each_stage_and_runs_none(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = storage.checkout() / "cluster/aws.yaml"
    assert chain.main([str(place / "chain.yaml"), "--dry-run", "--json", "--cluster", str(cluster)]) == 0
    out = capsys.readouterr().out.splitlines()
    told = json.loads(out[-1])["metrics"]["stages"]
    assert [(stage["stage"], stage["state"]) for stage in told] == [("a", "ready"), ("b", "waits"), ("c", "waits")]
    assert told[0]["nodes"][0]["type"] == "cpu-spot"
    assert any("brings 1 cpu-spot (m6id.4xlarge, spot, $" in line for line in out)
    assert not (place / "out").exists()


def test_wrong_words_are_one_line_and_status_2(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--from", "x"], ["--dry-run", "--cluster", "none.yaml"], ["x.y=1"]):
        assert chain.main([str(place / "chain.yaml"), *words]) == 2
        assert capsys.readouterr().err.startswith("jobs.chain: ")


def test_the_table_says_how_each_stands() -> None:
    record: dict[str, Any] = {"seconds": None, "exit_code": None, "started_at": None}
    lines = table(
        [
            {"stage": "curate", **record, "status": run.SUCCEEDED, "seconds": 61.0},
            {"stage": "tune", **record, "status": run.FAILED, "seconds": 2.0, "exit_code": 3},
            {"stage": "pretrain", **record, "status": run.WAITING},
        ]
    )
    assert [" ".join(line.split()) for line in lines] == [
        "curate succeeded 1:01",
        "tune failed 0:02 exit code 3",
        "pretrain waiting",
    ]


SLEEPER = """
import pathlib, signal, sys, time

def save(number, frame):
    pathlib.Path("saved").touch()
    print("saved", flush=True)
    sys.exit(143)

signal.signal(signal.SIGTERM, save)
print("started", flush=True)
time.sleep(60)
"""


def running_chain(place: Path) -> subprocess.Popen[str]:
    """A chain of one stage that sleeps, as soon as it does."""
    (place / "jobs").mkdir()
    (place / "jobs/sleeper.py").write_text(SLEEPER)
    driver = f"""
import signal, sys
sys.path.insert(0, {str(storage.checkout())!r})
from pathlib import Path
from jobs.chain import Processes
from jobs.chaining.stages import Stage
import os
os.chdir({str(place)!r})
processes = Processes()
signal.signal(signal.SIGTERM, processes.stop)
ended = processes.run(Stage("s", "sleeper"), Path("r.yaml"), "s", lambda line: print(line, flush=True))
print(ended.status, ended.exit_code, ended.last_lines)
print(processes.run(Stage("s", "sleeper"), Path("r.yaml"), "s", print).status)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True, env={**os.environ, "RAY_ADDRESS": "x"}
    )
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    while process.stdout.readline() != "started\n":
        assert time.monotonic() < deadline
    return process


def test_sigterm_reaches_the_running_stage_which_has_its_last_word(tmp_path: Path) -> None:
    process = running_chain(tmp_path)
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=30)[0].splitlines()
    assert rest == ["saved", "STOPPED 143 ('started', 'saved')", "STOPPED"]


def test_a_chain_that_is_killed_leaves_no_stage_at_work(tmp_path: Path) -> None:
    process = running_chain(tmp_path)
    process.kill()
    process.wait(30)
    deadline = time.monotonic() + 30
    while not (tmp_path / "saved").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
