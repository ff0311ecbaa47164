"""The laptop's cluster: a job brings raylets, they leave again, and `down` leaves nothing and touches nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from jobs import head as heads
from jobs import laptop
from jobs.head import Head
from jobs.observing import autoscaler
from tests.cluster.states import alive_nodes

DEFINITION = laptop.storage.checkout() / "cluster" / "laptop.yaml"

# Four tasks that cannot end before two nodes work on them at once.
JOB = """
import sys, time, pathlib, ray
ray.init(log_to_driver=False)
@ray.remote(num_cpus=1, label_selector={"role": "data"})
def task(meeting):
    node = ray.get_runtime_context().get_node_id()
    pathlib.Path(meeting, node).touch()
    while len(list(pathlib.Path(meeting).iterdir())) < 2:
        time.sleep(0.05)
    return node
print(len(set(ray.get([task.remote(sys.argv[1]) for _ in range(4)]))))
"""


# What a training's driver asks for before its controller asks for the same, which comes before a node is there.
EARLY = """
import time, ray
from ray.util import placement_group
from models.training.asking import asked_for
from models.training.elastic import GivesUpRoom
from pipelines.tokens.reach import within_reach
ray.init(log_to_driver=False)
assert within_reach("CPU") == 4, "two nodes of one and one of two, none of them there"
role = {"role": "data"}
with asked_for(1, {"CPU": 1}, role) as asked:
    time.sleep(2)
    GivesUpRoom(asked).after_controller_start(None)
    later = placement_group([{"CPU": 1}], bundle_label_selector=[role])
    ray.get(later.ready(), timeout=300)
"""


# A node that comes unpacks the job's working directory, too; where the driver's lies is not touched.
STAYING = """
import os, ray
ray.init(log_to_driver=False)
here = os.getcwd()
@ray.remote(num_cpus=1, label_selector={"role": "data"})
def task():
    return os.getcwd(), sorted(os.listdir())
there, files = ray.get(task.remote())
assert files == ["job.py"], files
assert there != here
assert os.getcwd() == here
assert sorted(os.listdir()) == ["job.py"]
"""


def definition(directory: Path) -> Path:
    """The shipped one, with less patience."""
    settings = yaml.safe_load(DEFINITION.read_text())
    settings["idle_timeout_minutes"] = 0.03
    path = directory / "laptop.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def named(cluster: Head) -> list[str]:
    """The processes that belong to a cluster's session, by what they name."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if cluster.temp_dir in words and process.pid != os.getpid():
                found.append(f"{process.pid} {words[:200]}")
        except psutil.Error:
            continue
    return found


def exported(cluster: Head, metric: str) -> dict[str, float]:
    """A figure of the autoscaler's by type of node, as Prometheus scrapes it; none before it has any."""
    text = ""
    for monitor in [process for process in psutil.process_iter() if _is_monitor(process, cluster)]:
        # One may be a copy of the monitor that is about to become a node.
        with contextlib.suppress(OSError, psutil.Error):
            port = monitor.environ()["AUTOSCALER_METRIC_PORT"]
            text += urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    found = re.findall(rf'^{metric}{{NodeType="([^"]*)".*}} (\S+)$', text, re.MULTILINE)
    return {kind: float(value) for kind, value in found}


def until(condition: Any, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    laptop.down(home)


@pytest.fixture(scope="module")
def cluster(home: Path) -> Head:
    cluster, new = laptop.up(home, definition(home))
    assert new
    return cluster


def test_a_job_brings_a_second_and_a_third_node_and_they_leave_again(cluster: Head, tmp_path: Path) -> None:
    from ray.job_submission import JobSubmissionClient

    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "meeting").mkdir()
    client = JobSubmissionClient(cluster.dashboard, headers={"Authorization": f"Bearer {cluster.token}"})
    until(lambda: len(alive_nodes(cluster)) == 1)
    until(lambda: exported(cluster, "autoscaler_active_nodes") == {"ray.head.default": 1, "data": 0, "train": 0})
    job = client.submit_job(entrypoint=f"python {tmp_path}/job.py {tmp_path}/meeting")
    waiting, running = [], []

    def there(nodes: int) -> bool:
        waiting.append(autoscaler.demand(client))
        running.append(exported(cluster, "autoscaler_active_nodes"))
        return len(alive_nodes(cluster)) == nodes

    until(lambda: there(3))
    workers = [node for node in alive_nodes(cluster) if not node["is_head_node"]]
    assert [node["labels"]["role"] for node in workers] == ["data", "data"]
    assert [node["resources_total"]["CPU"] for node in workers] == [1, 1]
    until(lambda: client.get_job_info(job).status.value == "SUCCEEDED")
    assert client.get_job_logs(job).splitlines()[-1] == "2", client.get_job_logs(job)
    until(lambda: there(1))
    head = alive_nodes(cluster)[0]
    assert head["is_head_node"]
    assert head["labels"]["role"] == "head"
    assert "CPU" not in head["resources_total"], "the head does no work"
    assert any(ask["resources"] == {"CPU": 1.0} for told in waiting for ask in told["asked"])
    assert any(told["starting"].get("data") for told in waiting)
    assert max(told.get("data", 0) for told in running) == 2
    assert {told["ray.head.default"] for told in running if told} == {1}
    until(lambda: autoscaler.demand(client) == {"asked": [], "starting": {}, "failed": {}})
    for figure in ("autoscaler_active_nodes", "autoscaler_pending_nodes"):
        until(lambda figure=figure: exported(cluster, figure).get("data") == 0)


@pytest.mark.slow
def test_a_training_that_asks_early_asks_for_one_node_not_two(cluster: Head, tmp_path: Path) -> None:
    from ray.job_submission import JobSubmissionClient

    (tmp_path / "job.py").write_text(EARLY)
    client = JobSubmissionClient(cluster.dashboard, headers={"Authorization": f"Bearer {cluster.token}"})
    until(lambda: len(alive_nodes(cluster)) == 1)
    environment = {"env_vars": {"PYTHONPATH": str(laptop.storage.checkout())}}
    job = client.submit_job(entrypoint=f"{sys.executable} {tmp_path}/job.py", runtime_env=environment)
    most = 1

    def done() -> bool:
        nonlocal most
        most = max(most, len(alive_nodes(cluster)))
        return client.get_job_info(job).status.is_terminal()

    until(done)
    assert client.get_job_info(job).status.value == "SUCCEEDED", client.get_job_logs(job)
    until(lambda: done() and len(alive_nodes(cluster)) == 1)
    assert most == 2


def test_a_node_that_comes_leaves_the_working_directory_of_the_others(cluster: Head, tmp_path: Path) -> None:
    from ray.job_submission import JobSubmissionClient

    (tmp_path / "job.py").write_text(STAYING)
    client = JobSubmissionClient(cluster.dashboard, headers={"Authorization": f"Bearer {cluster.token}"})
    until(lambda: len(alive_nodes(cluster)) == 1)
    job = client.submit_job(entrypoint=f"{sys.executable} job.py", runtime_env={"working_dir": str(tmp_path)})
    until(lambda: client.get_job_info(job).status.value in ("SUCCEEDED", "FAILED"))
    assert client.get_job_info(job).status.value == "SUCCEEDED", client.get_job_logs(job)


def test_it_asks_for_its_token(cluster: Head) -> None:
    for headers in ({}, {"Authorization": "Bearer " + "0" * 64}):
        request = urllib.request.Request(f"{cluster.dashboard}/api/jobs/", headers=headers)
        with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
            urllib.request.urlopen(request, timeout=10)
    assert Path(cluster.token_file).stat().st_mode & 0o777 == 0o600


def test_a_second_up_finds_the_first(cluster: Head, home: Path) -> None:
    assert laptop.up(home, DEFINITION) == (cluster, False)


def test_down_leaves_nothing_of_it(cluster: Head, home: Path) -> None:
    assert named(cluster)
    assert laptop.down(home)
    assert named(cluster) == []
    assert heads.processes(cluster) == []
    assert not Path(cluster.temp_dir).exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(cluster.dashboard.rpartition(":")[2])), timeout=2)
    assert not laptop.down(home), "there is no second one to end"


def test_a_state_file_of_another_day_ends_nobody(tmp_path: Path) -> None:
    """After a restart of the machine the pid belongs to somebody else."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as other:
        old = Head("127.0.0.1:1", "http://127.0.0.1:2", str(tmp_path / "token"), str(tmp_path / "gone"), other.pid)
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray/laptop.json").write_text(json.dumps(old.__dict__))
        assert not laptop.down(tmp_path)
        assert other.poll() is None
        other.kill()


def test_a_cluster_of_machines_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = DEFINITION.with_name("aws.yaml")
    with pytest.raises(ValueError, match=r"aws\.yaml: provider: .*laptop\.yaml"):
        laptop.up(tmp_path, aws)
    assert not list(tmp_path.iterdir()), "and nothing was begun"
    monkeypatch.setenv("GROUNDWORK_HOME", str(tmp_path))
    assert laptop.main(["up", "--file", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.slow
def test_two_clusters_of_one_machine_do_not_meet(head: Head, tmp_path: Path) -> None:
    cluster, _ = laptop.up(tmp_path, definition(tmp_path))
    try:
        monitors = [process for process in psutil.process_iter() if _is_monitor(process, cluster)]
        assert [process.environ()["AUTOSCALER_METRIC_PORT"] for process in monitors] != ["44217"]
        until(lambda: len(alive_nodes(cluster)) == 1)
    finally:
        laptop.down(tmp_path)
    assert len(alive_nodes(head)) == 1


def _is_monitor(process: psutil.Process, cluster: Head) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "monitor.py" in words and cluster.temp_dir in words
