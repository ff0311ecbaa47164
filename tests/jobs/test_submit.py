import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import submit
from jobs.submit import Submission, SubmitError
from jobs.submitting import following, package
from jobs.submitting.following import StartTimeout
from jobs.submitting.package import PackageError
from jobs.submitting.waiting import DriverAsk, why_pending
from pipelines import storage


class Status(str):
    """Ray's job status as far as following needs it."""

    @property
    def value(self) -> str:
        return str(self)

    def is_terminal(self) -> bool:
        return self in ("SUCCEEDED", "FAILED", "STOPPED")


class Cluster:
    """Answers like the job API: a list of (status, log so far) or an exception, one a look."""

    def __init__(self, looks: list[Any], exit_code: int | None = 0) -> None:
        self.looks, self.exit_code = looks, exit_code

    def get_job_info(self, submission_id: str) -> Any:
        look = self.looks[0]
        if isinstance(look, Exception):
            self.looks.pop(0)
            raise look
        return SimpleNamespace(status=Status(look[0]), driver_exit_code=self.exit_code, message="why\nmore")

    def get_job_logs(self, submission_id: str) -> str:
        look = self.looks[0]
        if len(self.looks) > 1:
            self.looks.pop(0)
        return str(look[1])


def followed(looks: list[Any], exit_code: int | None = 0) -> tuple[list[str], submit.Ending]:
    lines: list[str] = []
    ending = submit.follow(Cluster(looks, exit_code), Submission("a", "id", ""), lines.append, 0.0)  # type: ignore[arg-type]
    return lines, ending


def test_lines_come_once_whole_and_in_order() -> None:
    looks = [("RUNNING", "one\ntw"), ("RUNNING", "one\ntwo\n"), ("SUCCEEDED", "one\ntwo\n10 %\r20 %\nlast without end")]
    lines, ending = followed(looks)
    assert lines == ["one", "two", "20 %", "last without end"]
    assert (ending.status, ending.exit_code, ending.last_lines[-1]) == ("SUCCEEDED", 0, "last without end")


@pytest.mark.parametrize(
    ("status", "code", "expected"), [("FAILED", 3, 3), ("FAILED", None, 1), ("STOPPED", None, 130)]
)
def test_the_exit_code_is_the_drivers(status: str, code: int | None, expected: int) -> None:
    _, ending = followed([(status, "")], code)
    assert (ending.exit_code, ending.message) == (expected, "why")


def test_a_moment_without_answer_is_borne_and_a_long_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following.time, "sleep", lambda seconds: None)
    assert followed([ConnectionError("gone"), ("SUCCEEDED", "x\n")])[0] == ["x"]
    monkeypatch.setattr(following, "_LOST_CONTACT_SECONDS", -1.0)
    with pytest.raises(SubmitError, match="does not answer"):
        followed([ConnectionError("gone"), ("SUCCEEDED", "")])


def test_a_remote_cluster_gets_only_recipes_that_travel(tmp_path: Path) -> None:
    for name in ("jobs/recipes/a.yaml", "runs/a.yaml", "mine/a.yaml", "jobs/recipes/chain/tune.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".gitignore").write_text("/mine/\n")
    files = package.sent(tmp_path).files
    for name in ("jobs/recipes/a.yaml", "jobs/recipes/chain"):
        assert package.recipe_word(f"{tmp_path}/{name}", tmp_path, files) == name
    assert package.recipe_word(f"{tmp_path}/runs/a.yaml", tmp_path, None) == f"{tmp_path}/runs/a.yaml"
    for seen in (files, None):
        assert package.recipe_word("s3://bucket/a.yaml", tmp_path, seen) == "s3://bucket/a.yaml"
    for place in (f"{tmp_path}/runs/a.yaml", f"{tmp_path}/mine/a.yaml", f"{tmp_path}/mine", "/elsewhere/a.yaml"):
        with pytest.raises(PackageError, match="jobs/recipes"):
            package.recipe_word(place, tmp_path, files)


@pytest.mark.parametrize("job", ["pretrain", "chain"])
def test_what_a_recipe_leads_to_must_travel_too(job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = tmp_path / "jobs" / "recipes"
    recipes.mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "own.yaml").write_text("name: x\noutput: runs\n")
    (recipes / "fetch.yaml").write_text("base: ../../runs/own.yaml\n")
    (recipes / "chain.yaml").write_text("output: runs\nstages: [{name: fetch}]\n")
    monkeypatch.setattr(storage, "checkout", lambda: tmp_path)
    monkeypatch.setattr(submit, "is_local", lambda client: False)
    recipe = recipes / ("chain.yaml" if job == "chain" else "fetch.yaml")
    with pytest.raises(SubmitError, match=f"{tmp_path}/runs/own.yaml: the cluster gets"):
        # The cluster is not asked.
        submit.submit(Cluster([]), job, str(recipe), leads_to=submit.recipes(job, str(recipe), ()))  # type: ignore[arg-type]


def test_a_checkout_that_is_too_large_names_its_largest_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jobs/a.py", "big.bin", "runs/huge.bin", "tests/x.py", "jobs/__pycache__/a.pyc", ".venv/lib.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 1000)
    files = package.sent(tmp_path).files
    assert sorted(path.name for path in files) == ["a.py", "big.bin"]
    package.check_size(tmp_path, files)
    monkeypatch.setattr(package, "MOST_BYTES", 1500)
    with pytest.raises(PackageError, match=r"big\.bin"):
        package.check_size(tmp_path, files)


def test_what_looks_like_a_secret_is_found_by_name_or_by_its_first_line(tmp_path: Path) -> None:
    header = "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    secret = {
        "deploy.pem": "",
        "id_ed25519": "",
        ".env": "",
        "sub/.env.local": "",
        "sub/auth_token": "",
        "notes": header,
    }
    harmless = {
        "environment.py": "",
        "id_map.py": "",
        "keys.py": f"X = '{header.strip()}'",
        "credentials.py": "",
        "a": "",
    }
    for name, text in {**secret, **harmless}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = package.sent(tmp_path)
    assert found.secrets == tuple(sorted(secret))
    assert {str(path.relative_to(tmp_path)) for path in found.files} == set(harmless)


def test_this_repository_sends_no_secret() -> None:
    found = package.sent(storage.checkout())
    assert (found.secrets, found.links) == ((), ())


class Fleet:
    """Answers for the cluster's nodes and the autoscaler's state; counts what is told to stop."""

    def __init__(self, nodes: list[dict[str, Any]], status: str = "", ends: bool = True) -> None:
        self.nodes, self.status, self.ends, self.state = nodes, status, ends, "PENDING"
        self.stopped: list[str] = []
        self.submitted: list[str] = []

    def _do_request(self, method: str, path: str) -> Any:
        answers = {
            "/api/v0/nodes?detail=1": {"data": {"result": {"result": self.nodes}}},
            "/api/cluster_status?format=1": {"data": {"clusterStatus": self.status}},
        }
        return SimpleNamespace(status_code=200, json=lambda: answers[path])

    def get_job_info(self, submission_id: str) -> Any:
        return SimpleNamespace(status=Status(self.state), driver_exit_code=None, message="waits")

    def get_job_logs(self, submission_id: str) -> str:
        return ""

    def stop_job(self, submission_id: str) -> None:
        self.stopped.append(submission_id)

    def submit_job(self, **values: Any) -> None:
        self.submitted.append(values["entrypoint"])
        if self.ends:
            self.state = "FAILED"


def node(cpus: float, **labels: str) -> dict[str, Any]:
    return {"state": "ALIVE", "node_ip": "192.0.2.9", "resources_total": {"CPU": cpus}, "labels": labels}


@pytest.mark.parametrize(
    ("nodes", "asked", "told"),
    [
        ([], DriverAsk(), "no node is alive"),
        ([node(0)], DriverAsk(), "runs on the head, whose runtime environment is not set up yet"),
        (
            [node(0), node(4)],
            DriverAsk(8),
            r"no node has what the driver asks for \(8 CPU\); there are 192.0.2.9 with 0",
        ),
        ([node(4, market="spot")], DriverAsk(0, {"market": "!spot"}), "no node has .*the labels market=!spot"),
        ([node(4, market="on-demand")], DriverAsk(2, {"market": "on-demand"}), "all that have it may be busy"),
    ],
)
def test_why_a_job_waits(nodes: list[dict[str, Any]], asked: DriverAsk, told: str) -> None:
    status = (
        "Node status\n---\nActive:\n 1 head\nPending:\n cpu-spot, 2\nRecent failures:\n (no failures)\n\nResources\n"
    )
    why = why_pending(Fleet(nodes, status), "id", asked)  # type: ignore[arg-type]
    assert re.search(told, why)
    if nodes:
        assert why.endswith("; active: 1 head; pending: cpu-spot, 2")


@pytest.mark.parametrize(
    ("ends", "told"), [(True, "PENDING for .* and stopped: no node"), (False, "has not done so yet")]
)
def test_a_job_that_does_not_start_is_ended_by_its_supervisor(
    monkeypatch: pytest.MonkeyPatch, ends: bool, told: str
) -> None:
    monkeypatch.setattr(following, "_STARTING_SECONDS", 0.0)
    monkeypatch.setattr(following, "_STOP_PENDING_SECONDS", 1.5)
    fleet = Fleet([node(0)], ends=ends)
    job = Submission("a", "id-1", "", asked=DriverAsk(8))
    with pytest.raises(StartTimeout, match=told):
        submit.follow(fleet, job, lambda line: None, 0.0, start_timeout_seconds=-1.0)  # type: ignore[arg-type]
    assert fleet.stopped == ["id-1"]
    assert len(fleet.submitted) == 1
    assert "_ray_internal_job_actor_id-1" in fleet.submitted[0]


def test_attempts_of_a_run_are_counted_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [("r-1", "FAILED"), ("r-3", "STOPPED"), ("r-x-9", "RUNNING"), ("rr-7", "RUNNING"), (None, "RUNNING")]
    client = SimpleNamespace(
        list_jobs=lambda: [SimpleNamespace(submission_id=each, status=Status(status)) for each, status in jobs]
    )
    assert submit._next_attempt(client, "r") == 4  # type: ignore[arg-type]
    assert submit._next_attempt(client, "new") == 1  # type: ignore[arg-type]
    with pytest.raises(submit.AlreadyThere, match="rr-7: this attempt of the run is RUNNING"):
        submit._next_attempt(client, "rr")  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["s3://bucket/a.yaml", "/elsewhere/a.yaml", "jobs/recipes/chain.yaml"])
def test_the_newest_run_of_a_recipe_is_gone_on_with(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(storage.checkout())
    told = [
        {"stage": "pretrain", "recipe": place, "run_id": "old"},
        {"stage": "pretrain", "recipe": place, "run_id": "new"},
        {"stage": "tune", "recipe": place, "run_id": "of-another-job"},
        {"stage": "pretrain", "recipe": "jobs/recipes/b.yaml", "run_id": "of-another-recipe"},
        None,
    ]
    jobs = [SimpleNamespace(metadata=each, start_time=number) for number, each in enumerate(told)]
    client: Any = SimpleNamespace(list_jobs=lambda: jobs)
    assert submit.last_run(client, "pretrain", place) == "new"
    with pytest.raises(SubmitError, match="no earlier run of pretrain"):
        submit.last_run(client, "pretrain", f"{place}.yaml")


def test_the_dry_run_brings_nodes_and_prices_without_a_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "generate.yaml").write_text(
        f"name: generate\noutput: {tmp_path}\nmodel: {tmp_path}\nprompts: [a]\n"
        "run: {actors: 4, gpus_per_actor: 1}\nnode_labels: {market: spot}\n"
    )
    cluster = storage.checkout() / "cluster/aws.yaml"
    words = ["generate", str(tmp_path / "generate.yaml"), "--dry-run", "--cluster", str(cluster)]
    assert submit.main(words) == 0
    out = capsys.readouterr().out
    assert "- asks Ray for 4 CPU, 4 GPU at once" in out
    assert "- brings 4 gpu-spot (g6.2xlarge, spot, $" in out


@pytest.mark.parametrize(
    "words", [["--driver-labels", "market"], ["--driver-labels", "market=(x"], ["--cluster", "none.yaml"]]
)
def test_wrong_words_are_status_2(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(["report", str(tmp_path / "none.yaml"), *words]) == 2
    assert capsys.readouterr().err.startswith("jobs.submit: ")


def test_an_unknown_job_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(["curat", "recipe.yaml"]) == 2
    assert "did you mean curate?" in capsys.readouterr().err


def test_no_cluster_is_one_message_and_status_2(tmp_path: Path) -> None:
    recipe = tmp_path / "report.yaml"
    recipe.write_text(f"name: report\noutput: {tmp_path}\ndirectory: {tmp_path}\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-m", "jobs.submit", "report", str(recipe), "--address", "http://127.0.0.1:9"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no Ray job API" in done.stderr
    assert "Traceback" not in done.stderr
