"""A real head, the real `ray job submit`, and our own submission, from another directory."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobs import head, status, submit
from pipelines import storage

RAY = str(Path(sys.executable).parent / "ray")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[head.Head]:
    with head.running(tmp_path_factory.mktemp("ray"), cpus=2, object_store_bytes=100_000_000) as running:
        yield running
    assert head.processes(running) == []
    assert not Path(running.temp_dir).exists()


@pytest.fixture
def environment(cluster: head.Head, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    for key, value in cluster.environment().items():
        monkeypatch.setenv(key, value)
    return dict(os.environ)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "report.yaml"
    path.write_text(f"name: report\noutput: {tmp_path}/out\ndirectory: {tmp_path}/run\nsources: {tmp_path}\n")
    return path


def ray_job(environment: dict[str, str], elsewhere: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RAY, "job", *words], env=environment, cwd=elsewhere, capture_output=True, text=True, check=False, timeout=600
    )


def test_ray_job_submit_by_hand_from_another_directory(
    environment: dict[str, str], recipe: Path, tmp_path: Path
) -> None:
    entry = ["--", "python", "-m", "jobs.report", str(recipe), "--json"]
    words = ["submit", "--working-dir", str(storage.checkout()), "--submission-id", "by-hand", *entry]
    done = ray_job(environment, tmp_path, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "report.html").exists()
    assert '"status": "done"' in done.stdout
    listed = ray_job(environment, tmp_path, "list")
    assert "by-hand" in listed.stdout
    assert "SUCCEEDED" in listed.stdout


@pytest.mark.slow
def test_a_broken_recipe_ends_failed_with_its_message_in_the_log(
    environment: dict[str, str], recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(recipe.read_text() + "outputs: x\n")
    entry = ["--", "python", "-m", "jobs.report", str(recipe)]
    words = ["submit", "--working-dir", str(storage.checkout()), "--submission-id", "broken", *entry]
    assert ray_job(environment, tmp_path, *words).returncode != 0
    assert "FAILED" in ray_job(environment, tmp_path, "list").stdout
    log = ray_job(environment, tmp_path, "logs", "broken").stdout
    assert "report.yaml: outputs: unknown key; did you mean 'output'?" in log


def test_our_submission_follows_and_ends_with_the_drivers_code(
    environment: dict[str, str], cluster: head.Head, recipe: Path, tmp_path: Path
) -> None:
    client = submit.connect()
    assert submit.is_local(client)
    lines: list[str] = []
    ending = submit.follow(client, submit.submit(client, "report", str(recipe)), lines.append)
    assert (ending.status, ending.exit_code) == ("SUCCEEDED", 0)
    assert any("report: done" in line for line in lines)
    broken = submit.submit(client, "report", str(recipe), ["nam=x"])
    ending = submit.follow(client, broken, lines.append)
    assert (ending.status, ending.exit_code) == ("FAILED", 2)
    told = client.get_job_info(broken.submission_id).metadata
    assert told is not None
    assert told.items() >= {"stage": "report", "recipe": str(recipe), "run_id": broken.run_id, "attempt": "1"}.items()
    found = status.state(client)
    assert {job["status"] for job in found["jobs"]} >= {"SUCCEEDED", "FAILED"}
    assert any("exit code 2" in line for line in status.lines(found))


def test_a_stopped_job_ends_stopped_and_its_processes_are_the_heads(
    environment: dict[str, str], cluster: head.Head
) -> None:
    client = submit.connect()
    identity = client.submit_job(entrypoint="python -c 'import time; print(1, flush=True); time.sleep(600)'")
    submission = submit.Submission("sleep", identity, "")
    while "1\n" not in client.get_job_logs(identity):
        time.sleep(0.2)
    assert any("time.sleep(600)" in " ".join(psutil.Process(pid).cmdline()) for pid in head.processes(cluster))
    submit.stop(client, submission, timeout_seconds=120)
    assert submit.follow(client, submission, lambda line: None).exit_code == 130


def test_without_the_token_nothing_is_told(cluster: head.Head) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{cluster.dashboard}/api/jobs/", timeout=10)
    assert caught.value.code == 401
    assert oct(Path(cluster.token_file).stat().st_mode & 0o777) == "0o600"
    request = urllib.request.Request(
        f"{cluster.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {cluster.token}"}
    )
    assert isinstance(json.load(urllib.request.urlopen(request, timeout=10)), list)
