"""The head's watchdog: a used cluster lives, an idle one ends, and one that cannot be read is left alone."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.head import Head
from tests.cluster.states import alive_nodes

ROOM = Path(__file__).resolve().parents[2] / "cluster"
SCRIPT = ROOM / "idle_watch.py"
MINUTES = 0.03

PROVIDER = """
import json, pathlib
from ray.autoscaler.node_provider import NodeProvider
class Provider(NodeProvider):
    def nodes_for_teardown(self, tags):
        assert tags == {"ray-node-type": "worker"}
        return json.loads(pathlib.Path(self.provider_config["file"]).read_text())["workers"]
    def terminate_nodes(self, nodes):
        file = pathlib.Path(self.provider_config["file"])
        told = json.loads(file.read_text())
        file.write_text(json.dumps({"workers": told["workers"], "refusals": 0}))
        if told["refusals"]:
            raise PermissionError("UnauthorizedOperation")
        file.write_text(json.dumps({"workers": told["workers"][1:], "refusals": 0}))
"""


class Watchdog:
    """A watchdog whose command writes a file, in place of the shutdown."""

    def __init__(self, head: Head, home: Path, *words: str, **variables: str) -> None:
        home.mkdir(exist_ok=True)
        self.ended, self._log = home / "ended", home / "log"
        node_id = alive_nodes(head)[0]["node_id"]
        command = [sys.executable, str(SCRIPT), "--poll-seconds", "0.2", "--address", head.dashboard]
        command += ["--node-id", node_id, "--definition", str(home / "none.yaml")]
        command += ["--command", f"date +%s.%N > {self.ended}", *words]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **head.environment(), **variables}, stdout=log, stderr=log
            )

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOM))
    return importlib.import_module("idle_watch")


def client(head: Head) -> Any:
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(head.dashboard, headers={"Authorization": f"Bearer {head.token}"})


def test_a_job_keeps_the_cluster_and_its_absence_ends_it_but_not_one_that_cannot_be_read(
    head: Head, tmp_path: Path
) -> None:
    jobs = client(head)
    job = jobs.submit_job(entrypoint="sleep 4")
    idle = Watchdog(head, tmp_path / "idle", "--minutes", str(MINUTES))
    blind = Watchdog(head, tmp_path / "blind", "--minutes", str(MINUTES), RAY_AUTH_TOKEN="0" * 64)
    deaf = Watchdog(head, tmp_path / "deaf", "--minutes", str(MINUTES), "--address", "http://127.0.0.1:1")
    try:
        assert idle.process.wait(timeout=300) == 0, idle.log()
        ended = float(idle.ended.read_text())
        job_end = jobs.get_job_info(job).end_time / 1000
        # A job's end is one thing that Ray stores in a moment, and we see it at most a look later.
        assert MINUTES * 60 - 0.1 <= ended - job_end < MINUTES * 60 + 3
        assert "1 jobs pending or running, 0 workers" in idle.log()
        for other in (blind, deaf):
            assert other.process.poll() is None
            assert not other.ended.exists()
            assert other.log().count("cannot be read") == 1, "said, and not at each look"
        assert "40" in blind.log(), "with what was wrong"
    finally:
        for each in (idle, blind, deaf):
            each.stop()


def test_the_limit_stops_a_job_softly_and_ends_the_cluster(head: Head, tmp_path: Path) -> None:
    jobs = client(head)
    saved = tmp_path / "saved"
    saving = f"trap 'sleep 1; touch {saved}; exit 0' TERM; touch {tmp_path}/begun; while true; do sleep 0.1; done"
    job = jobs.submit_job(
        entrypoint=f'bash -c "{saving}"', runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "30"}}
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    dog = Watchdog(head, tmp_path, "--minutes", "0", "--longest-hours", "0.0001")
    try:
        assert dog.process.wait(timeout=300) == 0, dog.log()
        assert saved.exists(), "the job had the time to save"
        assert saved.stat().st_mtime <= float(dog.ended.read_text())
        assert jobs.get_job_info(job).status.is_terminal()
        assert "0.0001 h is the limit" in dog.log()
    finally:
        dog.stop()


def test_no_worker_of_the_cloud_is_left_before_the_head_ends(tmp_path: Path, watchdog: Any) -> None:
    (tmp_path / "stub_provider.py").write_text(PROVIDER)
    told = tmp_path / "workers.json"
    told.write_text(json.dumps({"workers": ["i-1", "i-2"], "refusals": 1}))
    definition = tmp_path / "cluster.yaml"
    definition.write_text(
        json.dumps(
            {
                "cluster_name": "c",
                "provider": {"type": "external", "module": "stub_provider.Provider", "file": str(told)},
            }
        )
    )
    program = f"""
    import pathlib, sys, types
    sys.path[:0] = [{str(ROOM)!r}, {str(tmp_path)!r}]
    import idle_watch
    raylet = types.SimpleNamespace(gcs_address="127.0.0.1:1")
    idle_watch.end(raylet, pathlib.Path({str(definition)!r}), "cp {told} {tmp_path}/then", 0.05)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads((tmp_path / "then").read_text())["workers"] == []
    assert "the head stays: PermissionError: UnauthorizedOperation" in done.stdout


def watched(watchdog: Any, monkeypatch: pytest.MonkeyPatch, script: list[Any]) -> tuple[str, int]:
    """What `watch` does with these states, a second apart, and an idle limit of 3 s; and how many it looked at."""
    clock = types.SimpleNamespace(now=1000.0)
    fake = types.SimpleNamespace(
        monotonic=lambda: clock.now,
        time=lambda: clock.now,
        sleep=lambda seconds: setattr(clock, "now", clock.now + seconds),
    )
    monkeypatch.setattr(watchdog, "time", fake)
    monkeypatch.setattr(watchdog, "Changes", lambda: lambda text: None)
    looked = []

    def state() -> Any:
        looked.append(script[len(looked)])
        if isinstance(looked[-1], Exception):
            raise looked[-1]
        return looked[-1]

    raylet = types.SimpleNamespace(alive=lambda: len(looked) < len(script), age=lambda: clock.now - 1000)
    reason = watchdog.watch(types.SimpleNamespace(state=state), raylet, 3 / 60, 0, 1)
    return reason, len(looked)


def test_only_an_unbroken_idle_time_counts(watchdog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = watchdog.State((), 0, 0.0)
    unreadable = watchdog.UnreadableError("gone")
    for used in (watchdog.State(("job",), 0, 0.0), watchdog.State((), 1, 0.0), unreadable):
        script = [idle, idle, idle, used, idle, idle, idle, idle]
        assert watched(watchdog, monkeypatch, script) == ("no job and no worker for 0.05 minutes", 7)
        assert watched(watchdog, monkeypatch, [idle, idle, used] * 5) == ("", 15)
    assert watched(watchdog, monkeypatch, [unreadable] * 20) == ("", 20)


def test_a_job_between_two_looks_counts(watchdog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = watchdog.State((), 0, 0.0)
    after = watchdog.State((), 0, 1001.5)  # ended between the second look and the third
    assert watched(watchdog, monkeypatch, [idle] * 9)[1] == 4
    assert watched(watchdog, monkeypatch, [idle, idle, *[after] * 9])[1] == 6


@pytest.mark.parametrize(
    ("jobs", "nodes"),
    [
        ([], []),
        ([], [{"is_head_node": False}]),
        ({"error": "x"}, [{"is_head_node": True}]),
        ({}, [{"is_head_node": True}]),
        ([{"status": "RUNNING"}], [{"is_head_node": True}]),
    ],
)
def test_an_answer_that_is_not_complete_is_no_state(watchdog: Any, jobs: Any, nodes: Any) -> None:
    dashboard = watchdog.Dashboard("http://127.0.0.1:1")
    dashboard._ask = lambda path, method="GET": jobs if "jobs" in path else {"data": {"result": {"result": nodes}}}
    with pytest.raises(watchdog.UnreadableError):
        dashboard.state()


@dataclass
class Jobs:
    """A dashboard's job API over HTTP, without nodes: a job ends so many listings after its stop.

    `faults` names what befalls the request of this kind (`list`, or the job to stop) and number (-1: all).
    """

    listings: dict[str, int]
    faults: dict[tuple[str, int], str] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)
    address: str = ""

    def answer(self, kind: str) -> Any:
        if kind != "list":
            stopped = kind in self.listings
            self.stopped |= {kind} if stopped else set()
            return {"stopped": stopped}
        for job in self.stopped:
            self.listings[job] -= self.listings[job] > 0
        names = {job: "RUNNING" if left else "STOPPED" for job, left in self.listings.items()}
        return [{"submission_id": job, "status": status, "end_time": None} for job, status in names.items()]


@pytest.fixture
def job_api(watchdog: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setattr(watchdog, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(watchdog, "_STOP_POLL_SECONDS", 0.01)
    monkeypatch.setattr(watchdog, "_STOP_SECONDS", 20.0)
    api = Jobs({"a": 3, "b": 5})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = {"/api/jobs/": "list"}.get(self.path) or self.path.split("/")[-2]
            fault = api.faults.get((kind, api.seen[kind]), api.faults.get((kind, -1), ""))
            api.seen[kind] += 1
            if self.path.startswith("/api/v0/"):
                fault = "status"
            if fault == "closed":
                return
            if fault == "slow":
                time.sleep(0.4)
            told = {
                "status": "",
                "text": "<html>",
                "form": "{}",
                "deaf": '{"stopped": false}',
                "slow": "[]",
                "cut": "[]",
            }
            text = told[fault] if fault else json.dumps(api.answer(kind))
            self.send_response(500 if fault == "status" else 200)
            self.send_header("Content-Length", str(len(text) + (fault == "cut")))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield api
    server.shutdown()
    server.server_close()
    thread.join()


FAULTS = ("status", "closed", "cut", "slow", "text", "form")


@pytest.mark.parametrize("fault", [*FAULTS, "deaf"])
@pytest.mark.parametrize("places", [[("list", 0)], [("a", 0)], [("a", 0), ("b", 0)], [("list", 2), ("list", 3)]])
def test_a_failed_answer_is_asked_again_until_the_jobs_have_ended(
    watchdog: Any, job_api: Jobs, fault: str, places: list[tuple[str, int]]
) -> None:
    job_api.faults = dict.fromkeys(places, fault)
    watchdog.stop_jobs(watchdog.Dashboard(job_api.address))
    assert job_api.listings == {"a": 0, "b": 0}, "both had their time to save"
    failed = Counter(kind for kind, _ in places)
    assert [job_api.seen[job] for job in "ab"] == [1 + failed[job] for job in "ab"], "told once, if heard"


def test_a_job_that_was_never_seen_to_end_has_all_the_time_there_is(
    watchdog: Any, job_api: Jobs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watchdog, "_STOP_SECONDS", 0.5)
    for faults, told in (({("list", -1): "status"}, "cannot be read"), ({("a", -1): "status"}, "job a cannot be")):
        job_api.faults, begun = faults, time.monotonic()
        watchdog.stop_jobs(watchdog.Dashboard(job_api.address))
        assert 0.5 <= time.monotonic() - begun < 5
        lines = capsys.readouterr().out.splitlines()
        assert sum(told in line for line in lines[:-1]) == 1, "said once"
        assert "0.5 s are over" in lines[-1]
    assert job_api.listings == {"a": 3, "b": 0}


def test_nothing_to_watch_for_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--minutes", "0"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 2
    assert "--longest-hours" in done.stderr
