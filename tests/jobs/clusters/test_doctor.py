"""`python -m jobs.doctor` against a real cluster of two nodes, one of them sick."""

import contextlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import psutil
import pytest
import ray

from jobs import doctor, head
from jobs.clusters import inspection
from jobs.clusters.inspection import Facts
from jobs.submitting.access import connect
from tests.nodes import Node

FEW = 2048


@dataclass
class Clinic:
    """A cluster whose second node may open few files."""

    head: head.Head
    storage: Path

    def run(self, *words: str, outside: bool) -> tuple[int, dict[str, list[dict[str, Any]]], str]:
        """The exit status, the checks by name, and stderr; from a node's side or through the dashboard."""
        variables = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        own = self.head.environment()
        if outside:
            del own["RAY_ADDRESS"]
        done = subprocess.run(
            [sys.executable, "-m", "jobs.doctor", "--json", *words],
            env={**variables, **own},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        found: dict[str, list[dict[str, Any]]] = {}
        last = done.stdout.strip().splitlines()[-1:] or ["{}"]
        for check in json.loads(last[0]).get("checks", []):
            found.setdefault(check["name"], []).append(check)
        return done.returncode, found, done.stderr


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    place = tmp_path_factory.mktemp("doctor")
    (place / "storage").mkdir()
    with head.running(place, cpus=0, object_store_bytes=100_000_000) as running:
        node = sick_node(running, place)
        try:
            # On a busy machine Ray gives a node's start up.
            while not two_nodes(running, node):
                node.kill()
                node = sick_node(running, place)
            yield Clinic(running, place / "storage")
        finally:
            node.kill()


def sick_node(running: head.Head, place: Path) -> Node:
    """A node whose raylet may open few files, as it inherits what this process may while it starts it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))
    try:
        return Node.start(running, place)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def two_nodes(running: head.Head, node: Node) -> bool:
    """Wait for the cluster's second node; False when it ended instead."""
    os.environ.update(running.environment())
    client = connect(running.dashboard)
    while node.process.poll() is None:
        with contextlib.suppress(OSError, RuntimeError, KeyError):  # a busy dashboard lets go
            nodes = client._do_request("GET", "/api/v0/nodes").json()["data"]["result"]["result"]
            if sum(each["state"] == "ALIVE" for each in nodes) == 2:
                return True
        time.sleep(0.3)
    return False


def statuses(found: dict[str, list[dict[str, Any]]]) -> dict[str, set[str]]:
    return {name: {check["status"] for check in checks} for name, checks in found.items()}


@pytest.mark.slow
def test_the_sick_node_is_found_and_what_was_written_is_gone(clinic: Clinic) -> None:
    code, found, errors = clinic.run("--storage", str(clinic.storage), outside=False)
    assert code == 1, errors
    told = statuses(found)
    (sick,) = [check for check in found["open files"] if check["status"] == "fail"]
    assert f"may open {FEW:,} files" in sick["said"]
    assert "ulimit -n 65536" in sick["remedy"]
    assert [name for name, status in told.items() if "fail" in status] == ["open files"]
    for name in ("authentication", "answer", "versions", "head", "storage", "shared memory", "clock", "token file"):
        assert told[name] == {"ok"}, found[name]
    assert found["answer"][0]["said"] == "2 nodes answered"
    assert list(clinic.storage.iterdir()) == []


def test_a_node_tells_the_truth_about_itself(local_ray: None, tmp_path: Path) -> None:
    (facts,) = inspection.survey(str(tmp_path))
    assert (facts.error, facts.storage, facts.head) == ("", "", True)
    # Of this Ray: the clinic's nodes may be children of this process, too.
    (raylet,) = ray._private.worker._global_node.all_processes["raylet"]
    assert psutil.Process(raylet.process.pid).rlimit(psutil.RLIMIT_NOFILE)[0] == facts.open_files
    assert facts.versions == {"python": platform.python_version(), **{n: version(n) for n in inspection.PACKAGES}}
    assert facts.shm_bytes == shutil.disk_usage("/dev/shm").total
    assert facts.cpus == 2
    assert abs(facts.seconds_ahead) <= facts.seconds_unsure
    (session,) = facts.disks
    assert Path(session).is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_only_the_driver_has_fails(local_ray: None, tmp_path: Path) -> None:
    trial = inspection.Trial.begin(str(tmp_path))
    assert trial is not None
    Path(trial.place("driver")).unlink()
    (facts,) = inspection.survey()
    facts.storage = inspection.look(asdict(trial))["storage"]
    assert facts.storage is not None
    assert facts.storage.startswith("cannot read what the driver wrote: FileNotFoundError")
    other = Facts(node_id="elsewhere", name="elsewhere", storage="")
    trial.end([facts, other])
    assert "the driver does not see" in str(other.storage)


@pytest.mark.slow
def test_from_a_laptop_it_goes_as_a_job_and_says_the_same(clinic: Clinic) -> None:
    code, found, errors = clinic.run("--storage", str(clinic.storage), outside=True)
    assert code == 1, errors
    assert statuses(found) == statuses(clinic.run("--storage", str(clinic.storage), outside=False)[1])
    assert list(clinic.storage.iterdir()) == []


@pytest.mark.slow
def test_a_storage_that_is_not_there_fails_and_the_rest_is_told(clinic: Clinic) -> None:
    code, found, _ = clinic.run("--storage", "/proc/nowhere", outside=False)
    assert code == 1
    assert statuses(found)["storage"] == {"fail"}
    assert "/proc/nowhere" in found["storage"][0]["said"]
    assert statuses(found)["versions"] == {"ok"}


@pytest.mark.parametrize("by", ["dashboard", "node"])
def test_no_cluster_is_one_message_and_status_2(
    by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # The one that is named counts, not the one in the environment.
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:19")
    if by == "node":
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert doctor.main([] if by == "node" else ["--address", "http://127.0.0.1:9"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("jobs.doctor: ")
    assert "127.0.0.1:9" in told.err
    assert len(told.err.splitlines()) == 1


@pytest.fixture
def dashboard() -> Iterator[Any]:
    """A dashboard that answers as `answers` says: whether a token came -> status."""

    class Handler(BaseHTTPRequestHandler):
        answers: ClassVar[dict[str | None, int]] = {}

        def do_GET(self) -> None:
            self.send_response(self.answers[self.headers.get("Authorization")])
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("without", "with_token", "status", "said"),
    [
        (401, 200, "ok", "refused without the token, let in with it"),
        (403, 200, "ok", "refused"),
        (200, 200, "fail", "lets in whoever asks"),
        (401, 403, "fail", "refuses our token too (403)"),
        (500, 200, "fail", "with 500"),
    ],
)
def test_authentication_is_tried_from_both_sides(
    without: int, with_token: int, status: str, said: str, dashboard: Any
) -> None:
    handler, url = dashboard
    handler.answers = {None: without, "Bearer abc": with_token}
    (check,) = doctor.authentication(url, "abc")
    assert check.status == status
    assert said in check.said
    assert "abc" not in check.said
