"""The chain's own part: order, recognition, resuming, its account; jobs here write a file each."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import chain, submit
from jobs.chaining import run, stages
from jobs.chaining.run import Chain, ChainStopped, Ended, StageFailed, table
from jobs.chaining.stages import STAGES, Stage, load
from jobs.clusters.asks import Ask
from jobs.config import RecipeError
from jobs.dry_run import Plan
from jobs.job import Job, Outcome, Recipe, main, require
from pipelines import storage
from pipelines.storage import Location
from tests.unsteady import serving


class CopyRecipe(Recipe, frozen=True):
    source: Location
    recipe: Location = "none"
    writes: str = ""
    fail: bool = False


class Copy(Job[CopyRecipe]):
    """Copies a file, and may write a recipe; done work is recognised by the frame."""

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
        if recipe.writes:
            storage.write_bytes(recipe.recipe, recipe.writes.encode())
        return Outcome({"copy": place}, {})


class Here:
    """Runs a stage in this process."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stop_at = ""

    def run(self, stage: Stage, recipe: str, label: str, emit: Callable[[str], None]) -> Ended:
        self.ran.append(stage.name)
        emit(f"this is {stage.name}")
        if stage.name == self.stop_at:
            return Ended("STOPPED", 143, ())
        code = main(Copy(), [recipe, *stage.words])
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


def chained(
    place: Path, *words: str, first: str | None = None, stop_at: str = "", force: bool = False
) -> tuple[list[str], Chain]:
    runner = Here()
    runner.stop_at = stop_at
    loaded = load(str(place / "chain.yaml"), words)
    made = Chain(loaded.forced(first) if force else loaded, runner, lambda records: None)
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
    assert made.recipe_of(made.stages[1]) == f"{place}/written.yaml"
    (place / "written.yaml").write_text(f"name: d\noutput: {place}/out\nsource: {place}/out/a.txt\n")
    assert chained(place)[0] == ["a", "d"]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving():
        yield "s3://bucket"


def planned(place: str | Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """What the dry run says of each stage."""
    capsys.readouterr()
    assert chain.main([str(place), "--dry-run", "--json", *words]) == 0
    told: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["stages"]
    return told


def states(plans: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(plan["stage"], plan["state"]) for plan in plans]


@pytest.mark.parametrize("uri", ["s3", "file"])
def test_what_an_earlier_stage_writes_may_lie_at_a_uri(
    place: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uri: str,
) -> None:
    root = request.getfixturevalue("bucket") if uri == "s3" else f"file://{place}"
    home = f"{root}/{place.name}/home"
    monkeypatch.setenv("GROUNDWORK_HOME", home)
    storage.write_bytes(f"{home}/source.txt", b"text ")
    storage.write_bytes(f"{home}/base.yaml", b"source: out/a.txt\n")
    (place / "a.yaml").write_text(
        "name: a\noutput: out\nsource: source.txt\nrecipe: out/written.yaml\n"
        'writes: "base: ../base.yaml\\nname: d\\noutput: out\\n"\n'
    )
    (place / "chain.yaml").write_text("stages: [{name: a}, {name: d, job: copy, recipe_of: a}]\n")

    plans = planned(place / "chain.yaml", capsys)
    assert states(plans) == [("a", "ready"), ("d", "waits")]
    assert plans[1]["work"] == [f"{home}/out/written.yaml: not there; it is made by a"]
    with pytest.raises(ChainStopped):
        chained(place, stop_at="d")
    assert states(planned(place / "chain.yaml", capsys)) == [("a", "done"), ("d", "ready")]
    ran, made = chained(place)
    assert ran == ["d"]
    assert storage.read_bytes(f"{home}/out/d.txt") == b"text ad"
    assert [record["status"] for record in storage.read_json(f"{home}/out/stages.json")] == ["SUCCEEDED"] * 2
    assert made.output == f"{home}/out"
    assert states(planned(place / "chain.yaml", capsys)) == [("a", "done"), ("d", "done")]
    assert chained(place)[0] == []


def test_a_chain_s_own_recipe_may_lie_in_a_bucket(place: Path, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    home = f"{bucket}/{place.name}/recipes"
    for path in place.glob("*.yaml"):
        storage.write_bytes(f"{home}/{path.name}", path.read_bytes())
    assert load(f"{home}/chain.yaml").stages[0].recipe == f"{home}/a.yaml"
    assert states(planned(f"{home}/chain.yaml", capsys)) == [("a", "ready"), ("b", "waits"), ("c", "waits")]


def test_by_force_every_stage_is_done_again_and_its_log_stays(place: Path) -> None:
    chained(place)
    stale = place / "out/jobs/b/stale.txt"
    stale.touch()
    assert chained(place, force=True)[0] == ["a", "b", "c"]
    assert not stale.exists()
    assert account(place) == [("a", "SUCCEEDED"), ("b", "SUCCEEDED"), ("c", "SUCCEEDED")]
    assert (place / "out/jobs/b/log.txt").read_text() == "this is b\n"
    assert chained(place)[0] == []


def test_by_force_from_a_stage_on_what_is_before_stays(place: Path) -> None:
    chained(place)
    before = (place / "out/jobs/a/result.json").stat().st_mtime_ns
    assert chained(place, first="b", force=True)[0] == ["b", "c"]
    assert (place / "out/jobs/a/result.json").stat().st_mtime_ns == before


def test_a_forced_chain_that_is_cut_short_tells_what_waits_and_how_to_go_on(place: Path) -> None:
    chained(place)
    with pytest.raises(ChainStopped, match="run it again without --force to go on"):
        chained(place, stop_at="b", force=True)
    assert account(place) == [("a", "SUCCEEDED"), ("b", "STOPPED"), ("c", "WAITING")]
    with pytest.raises(StageFailed, match="right what it says and run it again without --force:"):
        chained(place, "a.fail=true", force=True)
    assert account(place) == [("a", "FAILED"), ("b", "WAITING"), ("c", "WAITING")]
    assert chained(place)[0] == ["a"]


def test_the_dry_run_knows_what_force_does(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chained(place)
    recipe = place / "chain.yaml"
    assert [state for _, state in states(planned(recipe, capsys))] == ["done", "done", "done"]
    assert [state for _, state in states(planned(recipe, capsys, "--force"))] == ["ready", "ready", "ready"]
    from_b = planned(recipe, capsys, "b.seed=7", "--force", "--from", "b")
    assert [state for _, state in states(from_b)] == ["done", "ready", "ready"]
    assert submit.main(["chain", str(recipe), "--force", "--dry-run"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.endswith(": ready")] == [
        f"{name} (jobs.{job}): ready" for name, job in (("a", "a"), ("b", "copy"), ("c", "c"))
    ]


@pytest.mark.parametrize(("force", "last"), [(False, []), (True, ["--force"])])
def test_a_stage_s_process_gets_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool, last: list[str]
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/echo.py").write_text("import sys\nprint(*sys.argv[1:], sep='\\n')\n")
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    stage = Stage("s", "echo", overrides=("a.b=1",), force=force)
    assert chain.Processes().run(stage, "s3://bucket/r.yaml", "s", lines.append).status == "SUCCEEDED"
    assert lines == ["s3://bucket/r.yaml", "a.b=1", *last]


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
from jobs.chain import Processes
from jobs.chaining.stages import Stage
import os
os.chdir({str(place)!r})
processes = Processes()
signal.signal(signal.SIGTERM, processes.stop)
ended = processes.run(Stage("s", "sleeper"), "r.yaml", "s", lambda line: print(line, flush=True))
print(ended.status, ended.exit_code, ended.last_lines)
print(processes.run(Stage("s", "sleeper"), "r.yaml", "s", print).status)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True, env={**os.environ, "RAY_ADDRESS": "x"}
    )
    assert process.stdout is not None
    deadline = time.monotonic() + 3000
    while process.stdout.readline() != "started\n":
        assert time.monotonic() < deadline
    return process


def test_sigterm_reaches_the_running_stage_which_has_its_last_word(tmp_path: Path) -> None:
    process = running_chain(tmp_path)
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=300)[0].splitlines()
    assert rest == ["saved", "STOPPED 143 ('started', 'saved')", "STOPPED"]


def test_a_chain_that_is_killed_leaves_no_stage_at_work(tmp_path: Path) -> None:
    process = running_chain(tmp_path)
    process.kill()
    process.wait(300)
    deadline = time.monotonic() + 300
    while not (tmp_path / "saved").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
