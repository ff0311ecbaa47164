"""Further nodes of a cluster on this machine: each a raylet of its own, which can be killed as by a power cut."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from jobs.head import _PORTS, Head, _environment, _free_ports

_OF_NODES = [name for name in _PORTS if name not in ("port", "dashboard-port", "ray-client-server-port")]


@dataclass
class Node:
    """A raylet with its agents and workers."""

    process: subprocess.Popen[bytes]

    @staticmethod
    def start(head: Head, directory: Path, cpus: int = 1) -> Node:
        """Join a head's cluster; returns when the raylet was started."""
        ports = dict(zip(_OF_NODES, _free_ports(len(_OF_NODES)), strict=True))
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={head.address}", "--block"]
        command += ["--node-ip-address=127.0.0.1", "--disable-usage-stats", "--object-store-memory=100000000"]
        command += [f"--num-cpus={cpus}", *(f"--{name}={port}" for name, port in ports.items())]
        with (directory / f"node-{time.time_ns()}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=_environment(head.token_file),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Node(process)

    def kill(self) -> None:
        """SIGKILL for all of its processes at once."""
        kill_all(self.process.pid)
        self.process.wait()


def kill_all(pid: int) -> None:
    """SIGKILL for a process and all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
