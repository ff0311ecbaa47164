"""The spot watcher against metadata services that keep the clouds' rules, and against a real Ray node."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.head import Head
from tests.cluster.metadata import Service, serving
from tests.nodes import Node

ROOM = Path(__file__).resolve().parents[2] / "cluster"
SCRIPT = ROOM / "spot_watch.py"

# A driver that occupies the other node, and tells when Ray knows that this node will go, and until when.
OBSERVER = """
import json, time, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Affinity
ray.init(log_to_driver=False)
node = next(n["NodeID"] for n in ray.nodes() if n["Alive"] and "node:__internal_head__" not in n["Resources"])
@ray.remote(scheduling_strategy=Affinity(node, soft=False))
class Work:
    def begun(self):
        return True
work = Work.remote()
ray.get(work.begun.remote())
print(json.dumps({"node": node}), flush=True)
while not (draining := ray._private.state.state.get_draining_nodes()):
    time.sleep(0.02)
print(json.dumps({"seen": time.time(), "draining": draining}), flush=True)
"""


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as service:
        yield service


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOM))
    return importlib.import_module("spot_watch")


@contextlib.contextmanager
def pretended_raylet(node_id: str = "a" * 56) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a raylet, whose Ray cannot be reached."""
    words = ["raylet", "-c", "import time; time.sleep(60)", f"--node_id={node_id}", "--gcs-address=127.0.0.1:1"]
    process = subprocess.Popen(words, executable=sys.executable)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def start(home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), **variables}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def until(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_each_cloud_is_told_apart_and_its_notice_understood(watcher: Any, service: Service, cloud: str) -> None:
    found = watcher.CLOUDS[cloud](service.endpoint)
    assert found.here()
    assert found.notice() is None
    service.notice = float(int(time.time()) + 25)
    notice = found.notice()
    assert notice.deadline == pytest.approx(service.notice if cloud != "gcp" else time.time() + 30, abs=1)
    assert found.notice() == notice, "the same notice is not a new one"
    assert {status for _, _, status in service.asked} <= {200, 404}


def test_a_clouds_service_refuses_the_others(watcher: Any, service: Service) -> None:
    """Each probe keeps its own cloud's rules only, so where one answers, the others must not be taken for it."""
    service.answer = lambda method, path, headers: Service._gcp(  # type: ignore[method-assign]
        service, path.removeprefix("/computeMetadata/v1"), headers
    )
    assert watcher.this_cloud(endpoint=service.endpoint).name == "GCP"


def test_an_eviction_of_another_machine_is_not_ours(watcher: Any, service: Service) -> None:
    azure = watcher.Azure(service.endpoint)
    assert azure.notice() is None
    service.others.append("this-machine")
    assert "event a" in azure.notice().text


def test_a_token_that_ended_is_renewed(watcher: Any, service: Service) -> None:
    aws = watcher.Aws(service.endpoint)
    assert aws.here()
    service.tokens.clear()
    service.notice = time.time() + 100
    assert aws.notice() is not None
    assert sum("PUT" in request for _, request, _ in service.asked) == 2


def test_a_rebalance_recommendation_does_not_drain(
    watcher: Any, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    aws = watcher.Aws(service.endpoint)
    service.rebalance = True
    assert aws.notice() is None
    assert aws.notice() is None
    assert capsys.readouterr().out.count("rebalance recommendation") == 1


def test_no_proxy_stands_between(watcher: Any, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert watcher.Aws(service.endpoint).here()


def test_a_machine_in_no_cloud_is_told_so_and_that_is_no_failure(tmp_path: Path) -> None:
    done = start(tmp_path, "--endpoint", "http://127.0.0.1:1")
    assert done.returncode == 0
    assert "no cloud" in done.stdout


def test_it_asks_ray_again_until_ray_accepts(watcher: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [ConnectionError("not there"), (False, "not yet"), (True, "")]
    calls = []

    def drain_node(*words: object) -> tuple[bool, str]:
        calls.append(words)
        answer = answers[len(calls) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pretended_raylet() as process:
        until(lambda: any(raylet.pid == process.pid for raylet in watcher.raylets()))
        raylet = next(raylet for raylet in watcher.raylets() if raylet.pid == process.pid)
        drain = watcher.Drain(raylet)
        drain.connect = lambda: types.SimpleNamespace(drain_node=drain_node)
        drain(watcher.Notice("a notice", 1234.5))
    assert len(calls) == 3
    assert calls[-1][0] == "a" * 56
    assert calls[-1][2:] == ("a notice", 1_234_500)
    assert "not there" in (told := capsys.readouterr().out)
    assert "not yet" in told


def test_one_watcher_a_node_and_it_ends_with_the_raylet(service: Service, tmp_path: Path) -> None:
    words = ["--daemon", "--poll-seconds", "0.1", "--cloud", "aws", "--node-id", "b" * 56]
    log, pid_file = tmp_path / "spot_watch.log", tmp_path / "spot_watch.pid"
    with pretended_raylet("b" * 56) as raylet:
        pids = []
        for count in (1, 2):
            began = time.monotonic()
            done = start(tmp_path, *words, AWS_EC2_METADATA_SERVICE_ENDPOINT=service.endpoint)
            assert done.returncode == 0, done.stderr
            assert time.monotonic() - began < 3, "whoever starts it is not kept waiting"
            until(lambda count=count: log.exists() and log.read_text().count("asking http") == count)
            pids.append(int(pid_file.read_text()))
        until(lambda: not psutil.pid_exists(pids[0]))
        watching = psutil.Process(pids[1])
        assert os.getsid(pids[1]) not in (pids[1], os.getsid(0)), "a session of its own, without a terminal"
        assert {descriptor.path for descriptor in watching.open_files()} == {str(log)}
        raylet.kill()
        raylet.wait()
        until(lambda: not psutil.pid_exists(pids[1]))
    assert "raylet has ended" in log.read_text()


def test_a_notice_drains_the_node_in_ray_with_its_deadline_within_a_second(
    head: Head, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOM))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", head.token_file)
    dashboard = importlib.import_module("idle_watch").Dashboard(head.dashboard)
    node = Node.start(head, tmp_path)
    environment = {**os.environ, **head.environment(), "OMP_NUM_THREADS": "1"}
    observer = None
    try:
        until(lambda: dashboard.state().workers == 1)
        observer = subprocess.Popen(
            [sys.executable, "-c", OBSERVER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert observer.stdout is not None
        node_id = json.loads(observer.stdout.readline())["node"]
        variables = {**head.environment(), "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.endpoint}
        start(tmp_path, "--daemon", "--poll-seconds", "0.2", "--node-id", node_id, **variables)
        until(lambda: "ready to tell Ray" in (tmp_path / "spot_watch.log").read_text())
        service.notice = float(int(time.time()) + 60)
        told = json.loads(observer.stdout.readline())
        assert told["draining"] == {node_id: service.notice * 1000}
        noticed = next(moment for moment, request, status in service.asked if "action" in request and status == 200)
        assert told["seen"] - noticed < 1, "Ray's part takes 20 ms; a process started for it would take seconds"
    finally:
        if observer is not None:
            observer.kill()
            observer.wait()
        node.kill()
    until(lambda: "raylet has ended" in (tmp_path / "spot_watch.log").read_text())
