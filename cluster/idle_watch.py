"""End a cluster that nobody uses: Ray ends idle workers, and never the head.

    python ~/groundwork-node/idle_watch.py --daemon --minutes 60

Started on the head after `ray start`. When for that long no job was pending or running and no worker node was there,
it ends the cluster as `ray down` would: it stops the autoscaler, terminates workers that the cloud still has, and runs
a command on the head (default: `sudo shutdown -h now`; on AWS that terminates the instance where its
`InstanceInitiatedShutdownBehavior` is `terminate`, elsewhere a stopped machine's disk keeps costing).

It asks the job API and the node list of Ray's dashboard on the loopback address, with the cluster's token. While it
cannot read them, the cluster counts as used: only what was seen to be idle is ended. `--longest-hours` is the other
limit: that long after the head's Ray was started the cluster ends, whatever runs; jobs are stopped first and have the
time to save a checkpoint, also when the dashboard fails to answer now and then. Needs Python and Ray, nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from background import Changes, Raylet, detach, raylets, say, take_over

_TIMEOUT_SECONDS = 10.0
_RAYLET_SECONDS = 60.0
_STOP_SECONDS = 150.0
_STOP_POLL_SECONDS = 1.0
_AGAIN_SECONDS = 60.0
_ACTIVE = ("PENDING", "RUNNING")


class UnreadableError(Exception):
    """The cluster's state could not be read; the message says why."""


@dataclass(frozen=True)
class State:
    """What the cluster does: its active jobs, its worker nodes, and when a job last ended (seconds since the epoch)."""

    jobs: tuple[str, ...]
    workers: int
    last_end: float

    @property
    def idle(self) -> bool:
        """Whether nothing is done and no worker waits."""
        return not self.jobs and not self.workers

    def __str__(self) -> str:
        """In words."""
        return f"{len(self.jobs)} jobs pending or running, {self.workers} workers"


class Dashboard:
    """The head's dashboard: Ray's job API and state API."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def state(self) -> State:
        """The cluster's state. Raises UnreadableError."""
        jobs, last_end = self._jobs()
        nodes = self._ask("/api/v0/nodes?limit=10000&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE")
        try:
            alive = nodes["data"]["result"]["result"]
            heads = sum(node["is_head_node"] for node in alive)
        except (KeyError, TypeError) as error:
            raise self._other_form(error) from None
        if heads != 1:
            raise UnreadableError(f"{self._address}: the node list is not complete (it has {heads} heads)")
        return State(jobs, len(alive) - 1, last_end)

    def active_jobs(self) -> tuple[str, ...]:
        """The jobs that are pending or running, whatever the nodes do. Raises UnreadableError."""
        return self._jobs()[0]

    def stop(self, job: str) -> bool:
        """Ask a submitted job to stop; whether somebody was there to hear it. Raises UnreadableError."""
        answer = self._ask(f"/api/jobs/{job}/stop", "POST")
        try:
            return bool(answer["stopped"])
        except (KeyError, TypeError) as error:
            raise self._other_form(error) from None

    def _jobs(self) -> tuple[tuple[str, ...], float]:
        """The active jobs, and when a job last ended."""
        jobs = self._ask("/api/jobs/")
        try:
            if not isinstance(jobs, list):
                raise TypeError("not a list of jobs")
            active = tuple(job["submission_id"] or job["job_id"] for job in jobs if job["status"] in _ACTIVE)
            return active, max((job["end_time"] or 0 for job in jobs), default=0) / 1000
        except (KeyError, TypeError) as error:
            raise self._other_form(error) from None

    def _other_form(self, error: Exception) -> UnreadableError:
        return UnreadableError(f"{self._address}: an answer of another form than expected ({error!r})")

    def _ask(self, path: str, method: str = "GET") -> Any:
        headers = {"Authorization": f"Bearer {token}"} if (token := _token()) else {}
        request = urllib.request.Request(self._address + path, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return json.load(response)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UnreadableError(f"{self._address}{path.partition('?')[0]}: {error}") from None


def watch(dashboard: Dashboard, raylet: Raylet, minutes: float, longest_hours: float, poll_seconds: float) -> str:
    """Look at the cluster every `poll_seconds` until it is to be ended; says why, or nothing when its Ray has ended."""
    changed = Changes()
    used = time.monotonic()
    while raylet.alive():
        if longest_hours and raylet.age() > longest_hours * 3600:
            return f"Ray was started {raylet.age() / 3600:.2f} h ago, and {longest_hours:g} h is the limit"
        now = time.monotonic()
        try:
            state = dashboard.state()
            # A job may begin and end between two looks.
            used = max(used, now - max(0.0, time.time() - state.last_end)) if state.idle else now
            changed(f"{state}")
        except UnreadableError as error:
            used = now
            changed(f"the cluster's state cannot be read, so it counts as used: {error}")
        if minutes and now - used >= minutes * 60:
            return f"no job and no worker for {minutes:g} minutes"
        time.sleep(poll_seconds)
    return ""


def stop_jobs(dashboard: Dashboard) -> None:
    """Stop the active jobs and wait for their ends, as long as a checkpoint may take.

    What cannot be read is asked again until then: meanwhile the jobs count as running.
    """
    deadline = time.monotonic() + _STOP_SECONDS
    changed: defaultdict[str, Changes] = defaultdict(Changes)
    told: set[str] = set()
    while time.monotonic() < deadline:
        try:
            jobs = dashboard.active_jobs()
        except UnreadableError as error:
            changed[""](f"the jobs cannot be read, so they count as running: {error}")
        else:
            if not jobs:
                return
            for job in jobs:
                if job not in told and time.monotonic() < deadline and _told_to_stop(dashboard, job, changed[job]):
                    told.add(job)
        time.sleep(_STOP_POLL_SECONDS)
    say(f"{_STOP_SECONDS:g} s are over: the cluster ends with jobs that have not ended, or cannot be read")


def _told_to_stop(dashboard: Dashboard, job: str, changed: Changes) -> bool:
    try:
        if dashboard.stop(job):
            changed(f"stopping job {job}")
            return True
        changed(f"job {job} cannot be stopped yet: its supervisor does not answer")
    except UnreadableError as error:
        changed(f"job {job} cannot be stopped yet: {error}")
    return False


def stop_autoscaler(gcs_address: str) -> None:
    """Kill the head's autoscaler, so that it does not bring workers back while they are terminated."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            monitor = any(word.endswith("/monitor.py") and "autoscaler" in word for word in words)
            if monitor and f"--gcs-address={gcs_address}" in words:
                os.kill(int(folder.name), signal.SIGKILL)


def terminate_workers(definition: Path) -> int:
    """Ask the cloud of a cluster file to terminate the workers that it still has; returns how many there were."""
    import yaml
    from ray.autoscaler._private.providers import _get_node_provider

    config = yaml.safe_load(definition.read_text())
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    workers = provider.nodes_for_teardown({"ray-node-type": "worker"})
    if workers:
        say(f"terminating {len(workers)} workers: {', '.join(map(str, workers))}")
        provider.terminate_nodes(workers)
    return len(workers)


def end(raylet: Raylet, definition: Path, command: str, again_seconds: float) -> None:
    """End the cluster: no worker is left, then the command. Tried again until it is done."""
    if definition.is_file():
        stop_autoscaler(raylet.gcs_address)
        while True:
            try:
                if not terminate_workers(definition):
                    break
            except Exception as error:  # a provider's errors have no common base
                told = f"{type(error).__name__}: {error}"
                say(f"{definition}: its workers cannot be terminated, so the head stays: {told}")
            time.sleep(again_seconds)
    while status := subprocess.run(command, shell=True, check=False).returncode:
        say(f"{command}: exit status {status}; trying again in {again_seconds:g} s")
        time.sleep(again_seconds)
    say(f"{command}: done")


def main() -> int:
    """Run from the command line; returns the exit status."""
    options = _arguments()
    if options.daemon:
        detach(options.log)
        take_over(options.log.with_suffix(".pid"))
    deadline = time.monotonic() + _RAYLET_SECONDS
    while not (here := [raylet for raylet in raylets() if options.node_id in (None, raylet.node_id)]):
        if time.monotonic() > deadline:
            say("no raylet runs here: start it after `ray start --head`")
            return 1
        time.sleep(0.5)
    dashboard = Dashboard(options.address)
    hours = f", or {options.longest_hours:g} h after Ray's start" if options.longest_hours else ""
    idle = f"after {options.minutes:g} minutes without job and worker" if options.minutes else "not for being idle"
    say(f"{options.address}: the cluster ends {idle}{hours}")
    reason = watch(dashboard, here[0], options.minutes, options.longest_hours, options.poll_seconds)
    if not reason:
        say("the head's Ray has ended")
        return 0
    say(f"ending the cluster: {reason}")
    stop_jobs(dashboard)
    end(here[0], options.definition, options.command, options.again_seconds)
    return 0


def _token() -> str:
    """Ray's own order: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token."""
    if "RAY_AUTH_TOKEN" in os.environ:
        return os.environ["RAY_AUTH_TOKEN"].strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    return path.read_text().strip() if path.is_file() else ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--daemon", action="store_true", help="in the background, in place of an earlier one")
    parser.add_argument("--minutes", type=float, default=60, help="without job and worker (default: 60; 0: never)")
    parser.add_argument(
        "--longest-hours", type=float, default=0, help="after Ray's start, whatever runs (default: never)"
    )
    parser.add_argument("--command", default="sudo shutdown -h now", help="ends the head (default: %(default)s)")
    parser.add_argument("--address", default="http://127.0.0.1:8265", help="of the dashboard (default: %(default)s)")
    definition = Path.home() / "ray_bootstrap_config.yaml"
    parser.add_argument("--definition", type=Path, default=definition, help="cluster file (default: %(default)s)")
    parser.add_argument("--poll-seconds", type=float, default=30, help="between two looks (default: %(default)s)")
    parser.add_argument("--again-seconds", type=float, default=_AGAIN_SECONDS, help="between two tries to end it")
    parser.add_argument("--node-id", help="of the head, where a machine has several raylets (default: the newest's)")
    parser.add_argument("--log", type=Path, default=Path.home() / "idle_watch.log", help="with --daemon")
    options = parser.parse_args()
    if not options.minutes and not options.longest_hours:
        parser.error("--minutes or --longest-hours is needed: there is nothing to watch for")
    return options


if __name__ == "__main__":
    sys.exit(main())
