"""A cluster as its user has it: a laptop where `ray up`, `ray dashboard` and `ray job submit` are typed."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.cluster.lab.hosts import Host, Network

T = TypeVar("T")


class Submitted:
    """A job that was submitted from the laptop: the process that follows it, and its output."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, command: str) -> None:
        self.process, self.log, self.command = process, log, command

    @property
    def output(self) -> str:
        """What the user sees."""
        return self.log.read_text(errors="replace")

    def succeed(self, timeout_seconds: float = 300) -> str:
        """Wait for the end; returns the output. Raises AssertionError when it failed."""
        code = self.process.wait(timeout_seconds)
        assert code == 0, f"{self.command} ended with {code}:\n{self.output[-5000:]}"
        return self.output


class Cluster:
    """What is typed on the laptop, in the checkout, for one cluster file.

    Args:
        network: the hosts; `laptop` is one of them.
        definition: the cluster file, relative to the checkout.
        variables: of the laptop's shell, for every command.
    """

    def __init__(self, network: Network, definition: str, variables: Mapping[str, str] | None = None) -> None:
        self.network, self.definition = network, definition
        self.variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8265",
            "PYTHONUNBUFFERED": "1",
        }
        self.variables |= dict(variables or {})
        self._tunnel: subprocess.Popen[bytes] | None = None
        self._jobs = 0

    @property
    def laptop(self) -> Host:
        """The machine of the person."""
        return self.network.hosts["laptop"]

    def type(self, command: str, timeout_seconds: float = 300) -> str:
        """Run a command; returns its output. Raises AssertionError when it failed."""
        done = self.laptop.run(command, timeout_seconds, self.variables)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-5000:]}"
        return done.stdout

    def up(self) -> None:
        """Make the token, and the cluster; then the tunnel to its dashboard."""
        self.type("test -f ~/.ray/auth_token || ray get-auth-token --generate; chmod 600 ~/.ray/auth_token")
        self.type(f"ray up -y --no-config-cache {self.definition}")
        self._tunnel = self.laptop.start(
            f"exec ray dashboard {self.definition}", self.network.directory / "tunnel.log", self.variables
        )
        wait_until(lambda: self.laptop.run("curl -sf http://127.0.0.1:8265/").returncode == 0, "the dashboard's tunnel")

    def down(self) -> None:
        """End the cluster, and the tunnel."""
        if self._tunnel is not None:
            self._tunnel.terminate()
            self._tunnel.wait()
        self.type(f"ray down -y {self.definition}")

    def nodes(self) -> list[dict[str, Any]]:
        """Nodes that are alive, as Ray's state API tells them (`node_ip`, `labels`, `resources_total`, …)."""
        answer = self.laptop.run(
            'curl -sf -H "Authorization: Bearer $(cat ~/.ray/auth_token)" '
            "'http://127.0.0.1:8265/api/v0/nodes?detail=1&limit=100'",
            environment=self.variables,
        ).stdout
        try:
            found = json.loads(answer)["data"]["result"]["result"]
        except (ValueError, KeyError):
            return []
        return [node for node in found if node["state"] == "ALIVE"]

    def submit(self, command: str, **variables: str) -> Submitted:
        """`ray job submit` of a command, with variables for the job's environment."""
        environment = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120", **variables}})
        self._jobs += 1
        log = self.network.directory / f"job-{self._jobs}.log"
        typed = f"ray job submit --log-color false --working-dir . --runtime-env-json '{environment}' -- {command}"
        return Submitted(self.laptop.start(typed, log, self.variables), log, command)


def wait_until(look: Callable[[], T], what: str, timeout_seconds: float = 120, interval_seconds: float = 0.5) -> T:
    """The first true answer. Raises AssertionError, with `what`, when there is none in time."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(interval_seconds)
    raise AssertionError(f"{what}: not within {timeout_seconds:.0f} s")
