"""Runs on a real cluster of two raylets, killed at a wished point and brought back as an operator would."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from jobs import head
from models.training.conversion import weights
from models.training.journal import read_journal
from models.training.run import FINAL_SUMMARY
from tests.benchmarks.recovery.driver import PLACEMENT_GROUPS
from tests.benchmarks.recovery.faulty import LENGTH, SEQUENCES, wait_for
from tests.nodes import Node

ROOT = Path(__file__).resolve().parents[3]
TARGETS = ("worker", "node", "driver", "head")
"""Who is killed; besides, `stop` stops a worker as the system may, and `hang` leaves it standing where it is."""
STEPS, EVERY = 60, 20
_LIMIT_SECONDS = 240.0


def settings(steps: int = STEPS, **changes: Any) -> dict[str, Any]:
    """Two workers, a checkpoint every 20 steps."""
    tokens = SEQUENCES * LENGTH
    values = {"tokens": steps * tokens, "tokens_per_step": tokens, "sequence_length": LENGTH, "micro_batch": 4}
    values |= {"learning_rate": 1e-2, "workers": 2, "zero_stage": 1, "checkpoint_every_steps": EVERY}
    values |= {"validation_sequences": 0, "max_failures": 3, "log_every_steps": 2}
    return values | changes


@dataclass
class Cluster:
    """A head and a second node, each with one CPU for workers.

    Attributes:
        directory: where the head keeps its files, and runs theirs.
    """

    directory: Path
    head: head.Head = field(init=False)
    node: Node | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Both of them."""
        self.head = head.start(self.directory, cpus=1, object_store_bytes=100_000_000)
        self.add_node()

    def add_node(self) -> None:
        """A second node."""
        self.node = Node.start(self.head, self.directory)

    def kill_node(self) -> None:
        """A power cut on the second node."""
        assert self.node is not None
        self.node.kill()
        self.node = None

    def drain_node(self, seconds: int) -> None:
        """Tell Ray that the second node is about to be taken away, as a watcher of spot notices does."""
        python = f"""
import json, ray
ray.init(address={self.head.address!r}, logging_level="error")
print(json.dumps([node["NodeID"] for node in ray.nodes()
                  if node["Alive"] and "node:__internal_head__" not in node["Resources"]]))
"""
        told = subprocess.run(
            [sys.executable, "-c", python], env=self.environment(), capture_output=True, text=True, check=True
        )
        (node,) = json.loads(told.stdout.splitlines()[-1])
        command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", f"--address={self.head.address}"]
        command += [f"--node-id={node}", "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"]
        command += [f"--deadline-remaining-seconds={seconds}"]
        subprocess.run(command, env=self.environment(), check=True, capture_output=True)

    def kill_head(self) -> None:
        """A power cut on the head; the second node's raylet ends, having nobody to talk to."""
        for pid in head.processes(self.head):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.node is not None:
            self.kill_node()
        head.stop(self.head)

    def stop(self) -> None:
        """Leave nothing behind."""
        if self.node is not None:
            self.kill_node()
        head.stop(self.head)

    def environment(self) -> dict[str, str]:
        """What drivers need."""
        keep = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        return {**keep, **self.head.environment(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@dataclass
class Run:
    """One training, driven by a process of its own.

    Attributes:
        cluster: where it runs.
        name: of its directory.
        training: its settings.
        fault: what `Faulty` takes.
        pause: seconds that a worker's samples take.
        model: a preset.
    """

    cluster: Cluster
    name: str
    training: dict[str, Any]
    fault: tuple[str, str, int] | None = None
    pause: float = 0.0
    model: str = "tiny"
    driver: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> Path:
        """Of the run."""
        return self.cluster.directory / self.name

    def drive(self) -> None:
        """Start the driver, or start it again."""
        self.directory.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.benchmarks.recovery.driver", str(self.directory)]
        command += [json.dumps(self.training), json.dumps(self.fault), str(self.pause), self.model]
        with (self.directory / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(
                command, env=self.cluster.environment(), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )

    def kill_driver(self) -> None:
        """SIGKILL."""
        assert self.driver is not None
        self.driver.kill()
        self.driver.wait()

    def finish(self, seconds: float = _LIMIT_SECONDS) -> dict[str, Any]:
        """Wait for the driver's end; the run's summary.

        Raises:
            RuntimeError: it failed, with the end of its log.
        """
        assert self.driver is not None
        try:
            code: int | None = self.driver.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_driver()
            code = None
        if code != 0:
            log = (self.directory / "driver.log").read_text(errors="replace")
            raise RuntimeError(f"{self.name}: driver ended with {code}; its log ends with:\n{log[-4000:]}")
        return dict(json.loads((self.directory / FINAL_SUMMARY).read_text()))

    def weights(self) -> dict[str, Any]:
        """The final ones."""
        return weights(json.loads((self.directory / FINAL_SUMMARY).read_text())["checkpoint"])

    def losses(self) -> dict[int, float]:
        """By step."""
        return {line["step"]: line["loss"] for line in self._metrics()}

    def rates(self) -> list[float]:
        """Tokens a second, step by step."""
        return [line["tokens_per_second"] for line in self._metrics()]

    def _metrics(self) -> list[dict[str, Any]]:
        lines = map(json.loads, (self.directory / "metrics.jsonl").read_text().splitlines())
        return [line for line in lines if "learning_rate" in line]

    def journal(self) -> list[dict[str, Any]]:
        """Its events."""
        return read_journal(str(self.directory))

    def placement_groups(self) -> list[str]:
        """Those that were still there when the run was over."""
        return list(json.loads((self.directory / PLACEMENT_GROUPS).read_text()))


def undisturbed(cluster: Cluster, name: str, **changes: Any) -> Run:
    """A run that nobody disturbs."""
    run = Run(cluster, name, settings(**changes))
    run.drive()
    run.finish()
    return run


def disturbed(cluster: Cluster, name: str, target: str, point: str, step: int, **changes: Any) -> tuple[Run, float]:
    """A run that is struck once, and when (seconds since 1970).

    Args:
        cluster: where.
        name: of the run.
        target: who is killed: one of `TARGETS`, or `stop`, or `hang`.
        point: where a worker stands then: one of `faulty.POINTS`.
        step: in which step.
        changes: of the settings.
    """
    mark = cluster.directory / f"{name}.mark"
    run = Run(cluster, name, settings(**changes), (str(mark), point, step))
    run.drive()
    reached = wait_for(mark, _LIMIT_SECONDS)
    assert reached["pid"] in trainers(cluster), "a search for what is left over would not find it"
    struck = time.time()
    if target in ("worker", "stop"):
        os.kill(reached["pid"], signal.SIGKILL if target == "worker" else signal.SIGSTOP)
    elif target == "hang":
        wait_until(run, lambda events: any(event["event"] == "resume" for event in events))
    elif target == "node":
        cluster.kill_node()
        cluster.add_node()
    elif target == "driver":
        run.kill_driver()
        run.drive()
    else:
        cluster.kill_head()
        run.kill_driver()
        cluster.start()
        run.drive()
    Path(f"{mark}.done").touch()
    run.finish()
    return run, struck


def left_over(cluster: Cluster, seconds: float = 15.0) -> list[int]:
    """Workers that outlived their runs by so many seconds."""
    began = time.monotonic()
    while found := trainers(cluster):
        if time.monotonic() - began > seconds:
            break
        time.sleep(0.2)
    return found


def trainers(cluster: Cluster) -> list[int]:
    """Workers of this cluster, also of nodes that are gone: by their titles and by where their token lies."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "RayTrainWorker" in " ".join(process.info["cmdline"] or []):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(str(cluster.directory) in value for value in process.environ().values()):
                    found.append(process.pid)
    return sorted(found)


def kill_a_worker(cluster: Cluster, draw: random.Random) -> int | None:
    """SIGKILL for one of the processes that train; its number, or None where there is none just now."""
    found = trainers(cluster)
    if not found:
        return None
    victim = draw.choice(found)
    os.kill(victim, signal.SIGKILL)
    return victim


def wait_until(run: Run, wanted: Callable[[list[dict[str, Any]]], bool], seconds: float = _LIMIT_SECONDS) -> None:
    """Until a run's journal is as wished.

    Raises:
        TimeoutError: it did not become so; with the journal.
    """
    began = time.monotonic()
    while not wanted(run.journal()):
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{run.name}: after {seconds:.0f} s the journal is {run.journal()}")
        time.sleep(0.1)


def elastic(cluster: Cluster, name: str, **changes: Any) -> Run:
    """A run on one or two workers whose second node is killed after a checkpoint, and comes back after another."""
    run = Run(cluster, name, settings(workers=[1, 2], **changes), pause=0.05)
    run.drive()
    wait_until(run, lambda events: any(event["event"] == "checkpoint" for event in events))
    cluster.kill_node()
    wait_until(run, lambda events: events[-1]["event"] == "checkpoint" and _worlds(events)[-1] == 1)
    cluster.add_node()
    run.finish()
    return run


def warned(cluster: Cluster, name: str, seconds: int, **changes: Any) -> tuple[Run, float]:
    """A run whose second node is to go in so many seconds, is taken away then, and replaced; when the notice came."""
    run = Run(cluster, name, settings(**changes), pause=0.05)
    run.drive()
    wait_until(run, lambda events: any(event["event"] == "first_step" for event in events))
    noticed = time.time()
    cluster.drain_node(seconds)
    time.sleep(max(0.0, noticed + seconds - time.time()))
    cluster.kill_node()
    cluster.add_node()
    run.finish()
    return run, noticed


def _worlds(events: list[dict[str, Any]]) -> list[int]:
    """Numbers of workers, attempt by attempt."""
    return [event["workers"] for event in events if event["event"] == "starting"]


def recovery(run: Run, struck: float) -> dict[str, float]:
    """Seconds from a kill to the first steps after it, and their parts."""
    after = {}
    for event in run.journal():
        if event["time"] > struck:
            after.setdefault(event["event"], event)
    starting, resume, first = (after[name]["time"] for name in ("starting", "resume", "first_step"))
    seen = min(after["failure"]["time"], starting) if "failure" in after else starting
    return {
        "seconds": round(first - struck, 2),
        "detect": round(seen - struck, 2),
        "restart": round(starting - seen, 2),
        "load": round(resume - starting, 2),
        "first_step": round(first - resume, 2),
        "lost_steps": after["resume"]["lost_steps"],
    }
