"""A Ray head on this machine, with its dashboard, on free loopback ports, and nothing left behind.

It is a process group of its own, so stopping it stops exactly what was started here, whatever other clusters run.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# A session's socket paths add about 65 characters to the directory, and Unix allows 107.
_LONGEST_TEMP_DIR = 40
# Below what the kernel gives to somebody's connection (from 32768), above Ray's own workers (10002 to 19999).
_OURS = range(20_000, 32_768)
# Metrics by OpenTelemetry or not: of a head and its drivers alike, else the drivers' gauges are lost without a word.
_TELEMETRY = "0"
_TRIES = 3


class _LateError(RuntimeError):
    """A head that ended as its machine was too busy for Ray's own limits of time."""


@dataclass(frozen=True)
class Head:
    """A running head: `address` for drivers, `dashboard` for jobs and browsers, `pid` of its process group."""

    address: str
    dashboard: str
    token_file: str
    temp_dir: str
    pid: int

    @property
    def token(self) -> str:
        """What requests authenticate with."""
        return Path(self.token_file).read_text()

    def environment(self) -> dict[str, str]:
        """What a shell needs to talk to this head."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": self.token_file,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_enable_open_telemetry": _TELEMETRY,
        }


def start(
    home: Path, cpus: int | None = None, object_store_bytes: int = 1_000_000_000, definition: Path | None = None
) -> Head:
    """Start a head whose files lie below `home/.ray`; jobs on it resolve relative locations below the repo's home.

    On a machine so busy that one of Ray's own processes comes too late for another, it is started again.

    Args:
        home: its directory.
        cpus: the head's own; all of the machine's, or with a definition as many as that says, when not given.
        object_store_bytes: the head's object store.
        definition: a cluster file whose nodes are raylets on this machine (`cluster/laptop.yaml`); the head's
            autoscaler starts and ends them with the jobs.

    Raises:
        RuntimeError: it did not come up, with the end of its log.
        ValueError: the definition's nodes would not be on this machine.
    """
    settings = _definition(definition) if definition else None
    for _ in range(_TRIES - 1):
        with contextlib.suppress(_LateError):
            return _start(home / ".ray", cpus, object_store_bytes, settings)
    return _start(home / ".ray", cpus, object_store_bytes, settings)


def _start(state: Path, cpus: int | None, object_store_bytes: int, settings: dict[str, Any] | None) -> Head:
    """One try; raises _LateError where another may do."""
    temp_dir = session_directory(state)
    token_file = state / "token"
    descriptor = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
    ]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={temp_dir}"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    address, dashboard = f"127.0.0.1:{ports['port']}", f"http://127.0.0.1:{ports['dashboard-port']}"
    variables = _environment(str(token_file))
    if settings:
        words, own, of_definition = _autoscaling(settings, address, state)
        command, variables, cpus = command + words, variables | own, of_definition if cpus is None else cpus
    command += [
        f"--object-store-memory={object_store_bytes}",
        f"--num-cpus={max(2, os.cpu_count() or 2) if cpus is None else cpus}",
    ]
    log = state / "head.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    head = Head(address, dashboard, str(token_file), temp_dir, process.pid)
    try:
        _wait(head, ports["dashboard-agent-listen-port"], process, log)
    except BaseException:  # raised again; Ctrl-C too leaves no head behind
        stop(head)
        raise
    return head


def session_directory(state: Path) -> str:
    """A new directory for a Ray session: below `state`, or, where that is too long a path for sockets, in /tmp."""
    state.mkdir(parents=True, exist_ok=True)
    if len(str(state)) + len("/tmp-12345678") <= _LONGEST_TEMP_DIR:
        return tempfile.mkdtemp(prefix="tmp-", dir=state)
    return tempfile.mkdtemp(prefix="gw-")


def stop(head: Head) -> None:
    """Stop the head and all its processes, and remove its session files."""
    started = set(_descendants(head))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGTERM)
    deadline = time.monotonic() + 3
    members = _alive(started) | set(_descendants(head))
    while members and time.monotonic() < deadline:
        time.sleep(0.1)
        members = _alive(started) | set(_descendants(head))
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(head.pid, 0)
    shutil.rmtree(head.temp_dir, ignore_errors=True)


@contextlib.contextmanager
def running(home: Path, cpus: int | None = None, object_store_bytes: int = 1_000_000_000) -> Iterator[Head]:
    """A head for the length of a `with` block."""
    head = start(home, cpus, object_store_bytes)
    try:
        yield head
    finally:
        stop(head)


def init(**options: Any) -> None:
    """`ray.init` of a Ray of this process alone; like `start`, again where one of its processes comes too late.

    Args:
        options: Ray's.
    """
    import ray

    for left in reversed(range(_TRIES)):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray has no class for it
            ray.shutdown()
            if "timed out during startup" not in str(error) or not left:
                raise


def processes(head: Head) -> list[int]:
    """Pids of the head's processes: its session, and the workers and drivers that name its session directory."""
    return _descendants(head)


_PORTS = (
    "port",
    "dashboard-port",
    "ray-client-server-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "node-manager-port",
    "object-manager-port",
)


_LOCAL_NODES = "jobs.clusters.local_nodes.LocalNodes"


def _definition(path: Path) -> dict[str, Any]:
    """A cluster file whose nodes are on this machine."""
    settings = yaml.safe_load(path.read_text())
    provider = settings.get("provider", {}) if isinstance(settings, dict) else {}
    if provider.get("module") != _LOCAL_NODES:
        raise ValueError(f"{path}: provider: one whose nodes are on this machine expected, as in laptop.yaml")
    return settings


def _autoscaling(settings: dict[str, Any], address: str, state: Path) -> tuple[list[str], dict[str, str], int]:
    """What `ray start` needs to scale a definition's nodes on this machine: words, variables, and the head's CPUs."""
    from pipelines.tokens.reach import FILE_VARIABLE

    provider = settings["provider"]
    provider["gcs_address"] = address
    file = state / "autoscaling.yaml"
    file.write_text(yaml.safe_dump(settings))
    head = settings["available_node_types"][settings["head_node_type"]]
    labels = ",".join(f"{name}={value}" for name, value in head.get("labels", {}).items())
    variables = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        # Ray's own default is one port for all clusters of a machine.
        "AUTOSCALER_METRIC_PORT": str(_free_ports(1)[0]),
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": provider["head_node_id"],
        "RAY_CLOUD_INSTANCE_ID": provider["head_node_id"],
        FILE_VARIABLE: str(file),
    }
    words = [f"--autoscaling-config={file}", *([f"--labels={labels}"] if labels else [])]
    return words, variables, head["resources"].get("CPU", 0)


def _free_ports(count: int) -> list[int]:
    """Free now, and none that a connection takes before Ray listens on it."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for port in random.SystemRandom().sample(_OURS, len(_OURS)):
            if len(ports) == count:
                break
            with contextlib.suppress(OSError):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
                ports.append(port)
    if len(ports) < count:
        raise OSError(f"127.0.0.1: {count} free ports expected from {_OURS[0]} to {_OURS[-1]}, found {len(ports)}")
    return ports


def _environment(token_file: str) -> dict[str, str]:
    from pipelines.tokens.reach import FILE_VARIABLE  # what is imported with it takes most of a second

    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token_file,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
        # One of another cluster may lie on this machine.
        FILE_VARIABLE: "",
        "RAY_enable_open_telemetry": _TELEMETRY,
        "GROUNDWORK_HOME": os.environ.get("GROUNDWORK_HOME", os.getcwd()),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{os.path.join(sys.prefix, 'bin')}:{os.environ.get('PATH', '')}",
    }
    return environment


def _wait(
    head: Head, agent_port: int, process: subprocess.Popen[bytes], log: Path, timeout_seconds: float = 180
) -> None:
    """Until the job API and the node's agent, which starts the jobs, answer: the last parts of a head to come up."""
    deadline = time.monotonic() + timeout_seconds
    request = urllib.request.Request(f"{head.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {head.token}"})
    while time.monotonic() < deadline:
        if process.poll() is not None:
            if _agent_was_late(head):
                raise _LateError(
                    "the Ray head ended at once, each time it was started: the machine is so busy that its raylet "
                    "waited in vain for its agent, 15 s; start again when less runs beside"
                )
            raise RuntimeError(f"the Ray head ended at once; {log} ends with:\n{_tail(log)}")
        try:
            with urllib.request.urlopen(request, timeout=2) as response:
                json.load(response)
            with socket.create_connection(("127.0.0.1", agent_port), timeout=2):
                return
        except (urllib.error.URLError, OSError, ValueError):
            time.sleep(0.2)
    raise RuntimeError(f"the Ray head did not answer in {timeout_seconds:.0f} s; {log} ends with:\n{_tail(log)}")


def _agent_was_late(head: Head) -> bool:
    """Whether the raylet gave its agent up: it waits 15 s for it, which nothing can change (Ray's issue 65983)."""
    logs = Path(head.temp_dir) / "session_latest" / "logs"
    return any("Timed out waiting for file" in path.read_text(errors="replace") for path in logs.glob("raylet*.err"))


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _alive(pids: set[int]) -> set[int]:
    import psutil

    alive = set()
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.add(pid)
    return alive


def _descendants(head: Head) -> list[int]:
    """The head's session, processes that name its directory, and all children of these: drivers are a session each."""
    import psutil

    found: set[int] = set()
    parents: dict[int, int] = {}
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter(["pid"]):
        try:
            if process.pid in mine or process.status() == psutil.STATUS_ZOMBIE:
                continue
            parents[process.pid] = process.ppid()
            if os.getsid(process.pid) == head.pid or head.temp_dir in " ".join(process.cmdline()):
                found.add(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError):
            continue
    while more := {child for child, parent in parents.items() if parent in found and child not in found}:
        found |= more
    return sorted(found)
