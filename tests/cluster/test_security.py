"""What a stranger can do who reaches a head's ports without its token: nothing, at each of them.

Nothing here is listed by hand that could be asked for: the ports are those that the head's processes listen on, the
HTTP routes those that its servers log, the RPCs those that its programs name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.head import Head
from tests.cluster import listening
from tests.cluster.listening import METHODS, Port
from tests.cluster.states import alive_nodes, ask

ROOT = Path(__file__).resolve().parents[2]
WRONG = "0" * 64

# What a browser needs to load the page that asks for the token, and the load balancers' question.
OPEN = {
    ("GET", "/"),
    ("GET", "/favicon.ico"),
    ("GET", "/static"),
    ("GET", "/api/gcs_healthz"),
    ("GET", "/api/authentication_mode"),
    ("POST", "/api/authenticate"),
}
OPEN_ON_NODES = {("GET", "/api/healthz"), ("GET", "/api/local_raylet_healthz")}


@pytest.fixture(scope="module")
def ports(head: Head) -> Iterator[list[Port]]:
    """While a job runs, so that those of a worker process are among them."""
    client = _client(head)
    job = client.submit_job(entrypoint="sleep 900", runtime_env={"env_vars": {"RAY_JOB_STOP_SIGNAL": "SIGKILL"}})
    deadline = time.monotonic() + 300
    while client.get_job_info(job).status.value == "PENDING":
        assert time.monotonic() < deadline, client.get_job_info(job)
        time.sleep(0.1)
    while not (_logs(head) / "dashboard_agent.log").exists() or not listening.routes(
        _logs(head) / "dashboard_agent.log"
    ):
        assert time.monotonic() < deadline, "the node's agent did not come up"
        time.sleep(0.1)
    yield listening.ports(head)
    client.stop_job(job)
    _wait(client, job)


def _logs(head: Head) -> Path:
    return Path(head.temp_dir) / "session_latest" / "logs"


def _dashboard(head: Head) -> tuple[str, int]:
    return "127.0.0.1", int(head.dashboard.rpartition(":")[2])


def _port(ports: list[Port], head: Head, kind: str) -> Port:
    """The port of this kind that the head's node wrote into its session directory."""
    file = next((Path(head.temp_dir) / "session_latest").glob(f"{kind}_port_*"))
    return next(port for port in ports if port.number == int(file.read_text()))


def refused(port: Port | tuple[str, int], paths: set[str], open_to_all: set[tuple[str, str]]) -> list[str]:
    """The requests that were not refused, of each method for each path, without a token and with a wrong one."""
    found = []
    for path in sorted(paths):
        for method in METHODS:
            without, wrong = listening.status(port, method, path), listening.status(port, method, path, WRONG)
            if (without, wrong) == (401, 403):
                continue
            # What is open is so for one method: another one is not served at all.
            if any(path == known for _, known in open_to_all) and (method, path) not in open_to_all:
                assert without in (401, 404, 405), (method, path, without)
                continue
            if (method, path) not in open_to_all:
                found.append(f"{method} {path}: {without}, {wrong}")
    return found


def test_the_dashboard_refuses_every_route(head: Head, ports: list[Port]) -> None:
    routes = listening.routes(_logs(head) / "dashboard.log")
    dangerous = {("POST", "/api/jobs/"), ("PUT", "/api/packages/x/x"), ("PUT", "/api/serve/applications/")}
    assert dangerous | OPEN <= set(routes), "the server's table was not read"
    assert len(routes) > 50
    paths = {path for _, path in routes} | {"/no/such/path"}
    assert refused(_dashboard(head), paths - {"/static"}, OPEN) == []
    assert listening.status(_dashboard(head), "POST", "/api/authenticate") == 401
    assert listening.status(_dashboard(head), "POST", "/api/authenticate", WRONG) == 403
    assert listening.status(_dashboard(head), "GET", "/api/jobs/", head.token) == 200, "and the token opens it"


@pytest.mark.parametrize(
    "path",
    [
        "//api/jobs/",
        "/./api/jobs/",
        "/static/../api/jobs/",
        "/static/%2e%2e/api/jobs/",
        "/static/..%2fapi/jobs/",
        "/api/gcs_healthz/../jobs/",
        "/api/gcs_healthz%2f..%2fjobs/",
        "/api/jobs/?path=/api/gcs_healthz",
        "/api/jobs/#/api/gcs_healthz",
        "/API/JOBS/",
        "/static/../../../../../../../../etc/passwd",
    ],
)
def test_no_way_of_writing_a_path_goes_around_it(head: Head, path: str) -> None:
    assert listening.status(_dashboard(head), "GET", path) >= 400
    assert listening.status(_dashboard(head), "POST", path) >= 400


def test_what_is_open_tells_nothing_of_the_cluster(head: Head) -> None:
    import urllib.request

    texts = {}
    for method, path in OPEN:
        if method == "GET" and path not in ("/static", "/favicon.ico"):
            with urllib.request.urlopen(head.dashboard + path, timeout=10) as response:
                texts[path] = response.read().decode()
    assert json.loads(texts["/api/authentication_mode"]) == {"authentication_mode": "token"}
    assert texts["/api/gcs_healthz"] == "success"
    node = alive_nodes(head)[0]
    for text in texts.values():
        for known in (head.token, node["node_id"], node["node_ip"], head.temp_dir):
            assert known not in text


def test_the_nodes_agents_refuse_every_route(head: Head, ports: list[Port]) -> None:
    routes = listening.routes(_logs(head) / "dashboard_agent.log")
    assert {("POST", "/api/job_agent/jobs/"), ("GET", "/logs")} <= set(routes)
    paths = {path for _, path in routes} | {"/logs/raylet.out"}
    assert refused(_port(ports, head, "dashboard_agent_listen"), paths, OPEN_ON_NODES) == []
    environments = {"/get_or_create_runtime_env", "/delete_runtime_env_if_possible", "/get_runtime_envs_info"}
    assert refused(_port(ports, head, "runtime_env_agent"), environments, set()) == []


def test_every_listening_port_refuses_every_call(head: Head, ports: list[Port]) -> None:
    """Each port speaks HTTP and refuses, or gRPC and refuses each method that it has; metrics alone are open."""
    import ray

    programs = Path(ray.__file__).parent / "core/src/ray"
    methods = listening.rpc_methods([programs / "raylet/raylet", programs / "gcs/gcs_server"])
    assert {"/ray.rpc.JobInfoGcsService/AddJob", "/ray.rpc.NodeManagerService/RequestWorkerLease"} <= methods
    metrics = _port(ports, head, "metrics_export").number
    assert len(ports) >= 9
    open_ports, workers = [], 0
    for port in ports:
        answer = listening.http_status(port)
        if answer is not None:
            if answer != 401:
                open_ports.append(port.number)
            continue
        for token in (None, WRONG):
            answers = listening.rpc_answers(port, methods, token)
            assert set(answers) <= {"UNAUTHENTICATED", "UNIMPLEMENTED"}, (port, answers)
            assert answers["UNAUTHENTICATED"] > 1, f"{port}: none of its methods is known here"
        workers += port.process.startswith("ray::JobSupervi")
    assert workers, "a worker's port is among them: its PushTask runs code"
    # The known exception, which README.md names: figures for Prometheus, of each node, autoscaler and dashboard.
    assert metrics in open_ports
    assert set(open_ports) <= {metrics, 44217, 44227}


def test_metrics_are_open_and_hold_no_secret(head: Head, ports: list[Port]) -> None:
    import urllib.request

    port = _port(ports, head, "metrics_export")
    with urllib.request.urlopen(f"http://{port.host}:{port.number}/metrics", timeout=10) as response:
        assert head.token not in response.read().decode()
    for method in ("POST", "PUT", "DELETE"):
        assert listening.status(port, method, "/api/job_agent/jobs/") in (200, 404, 405, 501)


def test_the_dashboard_listens_on_loopback_only(head: Head, ports: list[Port]) -> None:
    number = _dashboard(head)[1]
    assert {port.bound for port in ports if port.number == number} == {"127.0.0.1"}


def test_the_token_file_is_its_owners(head: Head) -> None:
    assert Path(head.token_file).stat().st_mode & 0o777 == 0o600
    assert len(head.token) == 64


DRIVER = "import ray; ray.init({address!r}, log_to_driver=False); print('let in', ray.cluster_resources())"


@pytest.mark.parametrize("way", ["driver", pytest.param("client", marks=pytest.mark.slow)])
def test_a_driver_without_the_token_does_not_join(head: Head, tmp_path: Path, way: str) -> None:
    """With authentication put off, and with a wrong token; directly, and through Ray's client port (it tries 30 s)."""
    address = head.address if way == "driver" else f"ray://127.0.0.1:{_client_port(head)}"
    common = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    common |= {"HOME": str(tmp_path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", DRIVER.format(address=address)],
            env=common | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for variables in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": WRONG})
    ]
    for process in running:
        try:
            told, _ = process.communicate(timeout=600)
        finally:
            process.kill()
        assert process.returncode != 0, told
        assert "let in" not in told
        assert "uthenticat" in told or "AuthToken" in told or "client connection timeout" in told, told[-2000:]


def _client_port(head: Head) -> int:
    import psutil

    words = psutil.Process(head.pid).cmdline()
    return next(int(word.partition("=")[2]) for word in words if word.startswith("--ray-client-server-port="))


def _client(head: Head) -> Any:
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(head.dashboard, headers={"Authorization": f"Bearer {head.token}"})


def _wait(client: Any, job: str) -> str:
    deadline = time.monotonic() + 300
    while not client.get_job_info(job).status.is_terminal():
        assert time.monotonic() < deadline, client.get_job_info(job)
        time.sleep(0.1)
    return client.get_job_logs(job)


def test_a_jobs_working_directory_holds_no_history_data_or_keys(head: Head, tmp_path: Path) -> None:
    """As plain `ray job submit --working-dir .` does it, with the repository's own .gitignore."""
    checkout = tmp_path / "checkout"
    wanted = ["jobs/__init__.py", "jobs/recipes/a.yaml", "cluster/aws.yaml", "models/key_value.py"]
    unwanted = [".git/config", "runs/corpus.parquet", "runs/.ray/token", ".venv/bin/python", ".env", ".env.local"]
    unwanted += ["id_ed25519", "id_rsa.pub", "cluster/ca.key", "node.pem", ".aws/credentials", "auth_token"]
    unwanted += [".ssh/known_hosts", ".netrc", "credentials.json"]
    for name in [*wanted, *unwanted]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("x")
    (checkout / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    client = _client(head)
    job = client.submit_job(entrypoint="find . -type f", runtime_env={"working_dir": str(checkout)})
    listed = {line.removeprefix("./") for line in _wait(client, job).splitlines() if line.startswith("./")}
    assert listed == {*wanted, ".gitignore"}


def test_secrets_of_whoever_submits_are_not_shown(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs import submit

    secrets = {name: f"secret-{name.lower()}" for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "WANDB_API_KEY")}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    client = _client(head)
    submission = submit.submit(client, "pretrain", str(ROOT / "jobs/recipes/quickstart/none.yaml"))
    log = _wait(client, submission.submission_id)
    assert "none.yaml" in log, "the driver ran"
    places = ["/api/jobs/", f"/api/jobs/{submission.submission_id}", "/api/v0/jobs?detail=1", "/nodes?view=summary"]
    places += [f"/api/v0/{kind}?detail=1" for kind in ("actors", "workers", "tasks", "runtime_envs", "nodes")]
    shown = log + "".join(json.dumps(ask(head, place)) for place in places)
    assert submission.submission_id in shown
    for secret in (*secrets.values(), head.token):
        assert secret not in shown
