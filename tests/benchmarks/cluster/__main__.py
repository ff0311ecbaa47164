"""What a cluster costs in time: python -m tests.benchmarks.cluster [--rounds 5] [--json]

On the cluster of `cluster/laptop.yaml` (raylets of one machine, so no boot and no installation), medians of rounds:

- submit_to_first_line_s: from `ray job submit` typed to the first line of user code run; and to that line seen.
- submit_to_first_step_s: from `python -m jobs.submit pretrain` typed to the first steps trained, on a node that the job
  brings itself, and again on one that is there.
- scale_up_s: from a demand for two nodes to work on both. scale_down_s: from the end of the work to no node, less the
  idle time that laptop.yaml asks for.

With --json the last line is one object: these four, and their parts.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import yaml

from jobs import laptop
from jobs.head import Head
from pipelines import storage
from tests.benchmarks.cluster import jobs
from tests.cluster.states import alive_nodes, ask

DEFINITION = storage.checkout() / "cluster" / "laptop.yaml"
IDLE_SECONDS = 60 * float(yaml.safe_load(DEFINITION.read_text())["idle_timeout_minutes"])

Parts = dict[str, float]


def workers_gone(head: Head) -> float:
    """Waits until only the head is there; when that was."""
    deadline = time.monotonic() + 180
    while len(alive_nodes(head)) != 1:
        if time.monotonic() > deadline:
            raise TimeoutError("the workers do not leave")
        time.sleep(0.1)
    return time.time()


def first_line(head: Head, directory: Path) -> Parts:
    """A job of one line, on the head."""
    work = directory / "line"
    work.mkdir(exist_ok=True)
    (work / "main.py").write_text("import time\nprint('TOLD', time.time(), flush=True)\n")
    typed, ended, seen = jobs.by_ray(head, ["python", "main.py"], work)
    listed = ask(head, "/api/jobs/")
    newest = max((job for job in listed if job["type"] == "SUBMISSION"), key=lambda job: job["start_time"])
    log = ask(head, f"/api/jobs/{newest['submission_id']}/logs")["logs"]
    ran = float(log.split("TOLD ")[1].split()[0])
    accepted = newest["start_time"] / 1000
    return {
        "total": ran - typed,
        "command": accepted - typed,
        "supervisor_and_driver": ran - accepted,
        "line_seen": seen["TOLD"] - ran,
        "command_ends": ended - seen["TOLD"],
    }


def first_step(head: Head, directory: Path, store: str, name: str) -> Parts:
    """A tiny pretraining."""
    recipe = jobs.pretraining(directory, store, name)
    typed, ended, _ = jobs.by_us(head, "pretrain", recipe)
    events = jobs.events(str(directory / name / "jobs" / name))
    accepted = jobs.accepted(head, ask(head, "/api/jobs/"))
    nodes = [node["start_time_ms"] / 1000 for node in alive_nodes(head) if not node["is_head_node"]]
    begun = events.get("start", events["first_step"])
    parts = {
        "total": events["first_step"] - typed,
        "command": accepted - typed,
        "driver_and_workers": events["starting"] - accepted,
        "workers_set_up": begun - events["starting"],
        "first_steps": events["first_step"] - begun,
        "rest": ended - events["first_step"],
    }
    if nodes and accepted < min(nodes):
        parts["node_registered_after"] = min(nodes) - accepted
    return parts


def growing(head: Head, directory: Path) -> tuple[Parts, Parts]:
    """Two nodes come and go."""
    work = directory / "growing"
    work.mkdir(exist_ok=True)
    (work / "main.py").write_text(jobs.GROWING)
    jobs.by_ray(head, ["python", "main.py"], work)
    newest = max(ask(head, "/api/jobs/"), key=lambda job: job["start_time"])
    log = ask(head, f"/api/jobs/{newest['submission_id']}/logs")["logs"]
    told = json.loads(log.split("TOLD ")[1].splitlines()[0])
    gone = workers_gone(head)
    up = {"total": told["began"][-1] - told["asked"], "first_node": told["began"][0] - told["asked"]}
    return up, {"total": gone - told["done"] - IDLE_SECONDS, "with_idle_time": gone - told["done"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.cluster", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="line,step,scale", help="some of line, step, scale")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster ends, too
    wanted = options.parts.split(",")
    measured: dict[str, list[Parts]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as temporary:
        directory = Path(temporary)
        if short := [part for part in wanted if part != "step"]:
            _measure(measured, directory, DEFINITION, short, options.rounds)
        if "step" in wanted:
            _measure(measured, directory, patient(directory), ["step"], options.rounds)
    medians = {name: _medians(rounds) for name, rounds in measured.items()}
    for name, parts in medians.items():
        print(f"{name}: {_words(parts)}")
    if options.json:
        headline = {f"{name}_s": parts["total"] for name, parts in medians.items()}
        print(json.dumps(headline | {"rounds": options.rounds, "parts": medians}))


def patient(directory: Path) -> Path:
    """laptop.yaml with nodes that wait long enough for a second training to find the first one's."""
    definition = yaml.safe_load(DEFINITION.read_text()) | {"idle_timeout_minutes": 1.0}
    (directory / "patient.yaml").write_text(yaml.safe_dump(definition))
    return directory / "patient.yaml"


def _measure(
    measured: dict[str, list[Parts]], directory: Path, definition: Path, parts: list[str], rounds: int
) -> None:
    """Rounds of these parts on a cluster of their own."""
    store = jobs.token_store(directory) if "step" in parts else ""
    began = time.time()
    head, _ = laptop.up(directory / "home", definition)
    measured["head_up"].append({"total": time.time() - began})
    try:
        workers_gone(head)
        for number in range(rounds):
            if "line" in parts:
                _note(measured, "submit_to_first_line", first_line(head, directory))
            if "scale" in parts:
                up, down = growing(head, directory)
                _note(measured, "scale_up", up)
                _note(measured, "scale_down", down)
            if "step" in parts:
                _note(measured, "submit_to_first_step", first_step(head, directory, store, f"new{number}"))
                _note(measured, "submit_to_first_step_again", first_step(head, directory, store, f"old{number}"))
                workers_gone(head)
    finally:
        laptop.down(directory / "home")


def _note(measured: dict[str, list[Parts]], name: str, parts: Parts) -> None:
    measured[name].append(parts)
    print(f"  {name}: {_words(parts)}", flush=True)


def _medians(rounds: list[Parts]) -> Parts:
    names = list(dict.fromkeys(name for parts in rounds for name in parts))
    return {name: round(statistics.median([p[name] for p in rounds if name in p]), 2) for name in names}


def _words(parts: Parts) -> str:
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items())


if __name__ == "__main__":
    main()
