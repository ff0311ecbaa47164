"""Tell Ray when the cloud is about to take this node away, so that training checkpoints and moves in time.

    python ~/groundwork-node/spot_watch.py --daemon

Ray knows nothing of spot notices. This asks the machine's metadata service for one, and then drains the node in Ray
with the reason PREEMPTION and the moment at which it will be gone: Ray Train saves a checkpoint, no new work comes
here, and the autoscaler brings another node. It finds out by itself which cloud it runs on (AWS, GCP or Azure), ends
with 0 on a machine that is in none, and ends when this node's raylet has ended. Needs Python and Ray, nothing else.

What is asked for, and how long before the end it comes:

- AWS, 120 s: `spot/instance-action`, by IMDSv2.
  https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
  A rebalance recommendation (`events/recommendations/rebalance`) is only logged: the node may stay for hours.
- GCP, 30 s: `instance/preempted`. https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption
- Azure, 30 s: a scheduled event `Preempt`. https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
"""

from __future__ import annotations

import argparse
import calendar
import contextlib
import email.utils
import functools
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from background import Changes, Raylet, detach, raylets, say, take_over

_PROBES = 3
_TIMEOUT_SECONDS = 2.0
_RAYLET_SECONDS = 60.0
_RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Notice:
    """The cloud's announcement: what it says, and when the node goes (seconds since the epoch)."""

    text: str
    deadline: float


class Metadata:
    """A metadata service: `endpoint` and the headers that each request to it needs."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._headers = dict(headers)
        # Never through a proxy: the answer would be another machine's.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> str | None:
        """What it answers; None when there is no such thing (404).

        Raises:
            OSError: it did not answer, or it refused.
        """
        request = urllib.request.Request(
            self.endpoint + path, headers={**self._headers, **(headers or {})}, method=method
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                text: str = response.read().decode()
                return text
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise


class Aws:
    """EC2's metadata service, version 2: each request carries a session token."""

    name = "AWS"
    poll_seconds = 5.0
    _SECONDS = 21_600

    def __init__(self, endpoint: str | None = None) -> None:
        address = endpoint or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
        self.metadata = Metadata(address, {})
        self._token = ""
        self._advised = ""

    def here(self) -> bool:
        """Whether this machine is one of EC2's."""
        return self._get("/latest/meta-data/instance-id") is not None

    def notice(self) -> Notice | None:
        """The interruption notice, if there is one."""
        if action := self._get("/latest/meta-data/spot/instance-action"):
            told = json.loads(action)
            deadline = calendar.timegm(time.strptime(told["time"], "%Y-%m-%dT%H:%M:%SZ"))
            return Notice(f"EC2 spot interruption ({told['action']} at {told['time']})", deadline)
        advice = self._get("/latest/meta-data/events/recommendations/rebalance") or ""
        if advice and advice != self._advised:
            say(f"AWS: rebalance recommendation {advice.strip()}: an interruption is more likely now")
        self._advised = advice
        return None

    def _get(self, path: str) -> str | None:
        if self._token:
            try:
                return self.metadata.get(path, {"X-aws-ec2-metadata-token": self._token})
            except urllib.error.HTTPError as error:
                if error.code != 401:  # else the token has ended
                    raise
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(self._SECONDS)}
        self._token = self.metadata.get("/latest/api/token", lifetime, method="PUT") or ""
        if not self._token:
            return None
        return self.metadata.get(path, {"X-aws-ec2-metadata-token": self._token})


class Gcp:
    """Compute Engine's metadata server."""

    name = "GCP"
    poll_seconds = 1.0
    _GRACE_SECONDS = 30.0

    def __init__(self, endpoint: str | None = None) -> None:
        host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
        self.metadata = Metadata(endpoint or f"http://{host}", {"Metadata-Flavor": "Google"})
        self._first: float | None = None

    def here(self) -> bool:
        """Whether this machine is one of Compute Engine's."""
        return self.metadata.get("/computeMetadata/v1/instance/id") is not None

    def notice(self) -> Notice | None:
        """The preemption, if it has begun; its moment is 30 s after it was first seen, as none is told."""
        if (self.metadata.get("/computeMetadata/v1/instance/preempted") or "").strip().upper() != "TRUE":
            return None
        self._first = self._first or time.time()
        return Notice("Compute Engine preemption", self._first + self._GRACE_SECONDS)


class Azure:
    """Azure's Instance Metadata Service: scheduled events that name this machine."""

    name = "Azure"
    poll_seconds = 1.0
    _GRACE_SECONDS = 30.0

    def __init__(self, endpoint: str | None = None) -> None:
        address = endpoint or os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or "http://169.254.169.254"
        self.metadata = Metadata(address, {"Metadata": "true"})

    def here(self) -> bool:
        """Whether this machine is one of Azure's."""
        return bool(self._machine)

    def notice(self) -> Notice | None:
        """The eviction that names this machine, if one is scheduled or has begun."""
        events = json.loads(self.metadata.get("/metadata/scheduledevents?api-version=2020-07-01") or "{}")
        for event in events.get("Events", []):
            if event.get("EventType") != "Preempt" or self._machine not in event.get("Resources", []):
                continue
            deadline = time.time() + self._GRACE_SECONDS
            # Empty once it has begun.
            if event.get("NotBefore"):
                deadline = email.utils.parsedate_to_datetime(event["NotBefore"]).timestamp()
            return Notice(f"Azure spot eviction (event {event.get('EventId')})", deadline)
        return None

    @functools.cached_property
    def _machine(self) -> str:
        path = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
        return (self.metadata.get(path) or "").strip()


CLOUDS: Mapping[str, Callable[[str | None], Any]] = {"aws": Aws, "gcp": Gcp, "azure": Azure}


def this_cloud(only: str | None = None, endpoint: str | None = None) -> Any:
    """The cloud that this machine is in, or None. A metadata service may be late on a machine that has just started."""
    for attempt in range(_PROBES):
        if attempt:
            time.sleep(1)
        for key, make in CLOUDS.items():
            if only in (None, key):
                cloud = make(endpoint)
                with contextlib.suppress(OSError, ValueError):
                    if cloud.here():
                        return cloud
    return None


def this_raylet(node_id: str | None = None) -> Raylet | None:
    """This machine's newest raylet, or the one of a node; waited for as long as a minute, as it may be starting."""
    deadline = time.monotonic() + _RAYLET_SECONDS
    while True:
        for raylet in raylets():
            if node_id in (None, raylet.node_id):
                return raylet
        if time.monotonic() > deadline:
            return None
        time.sleep(0.5)


class Drain:
    """Ray's own call for a node that will go, made ready beforehand: importing Ray takes most of a second."""

    def __init__(self, raylet: Raylet, address: str | None = None) -> None:
        self._raylet = raylet
        self._address = address or raylet.gcs_address
        self._client: Any = None
        self._lock = threading.Lock()
        self._reason = 0

    def prepare(self) -> None:
        """Connect in the background; a failure is met, and told, when there is a notice."""

        def connect() -> None:
            with contextlib.suppress(Exception):
                self.connect()
                say(f"ready to tell Ray at {self._address}")

        threading.Thread(target=connect, daemon=True).start()

    def connect(self) -> Any:
        """The client, at the first time connected."""
        with self._lock:
            if self._client is None:
                import ray._raylet
                from ray.core.generated import autoscaler_pb2

                self._reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # type: ignore[attr-defined]
                self._client = ray._raylet.GcsClient(address=self._address)  # type: ignore[attr-defined]
            return self._client

    def __call__(self, notice: Notice) -> None:
        """Tell Ray, until it has accepted or the raylet is gone."""
        changed = Changes()
        while self._raylet.alive():
            try:
                began = time.monotonic()
                accepted, refusal = self.connect().drain_node(
                    self._raylet.node_id, self._reason, notice.text, int(notice.deadline * 1000)
                )
                if accepted:
                    left = notice.deadline - time.time()
                    took = (time.monotonic() - began) * 1000
                    say(f"node {self._raylet.node_id} drains: {notice.text}, {left:.0f} s from now ({took:.0f} ms)")
                    return
                changed(f"Ray does not accept that this node drains: {refusal}; asking again")
            except Exception as error:  # Ray's errors have no common base; nothing may end this loop
                changed(f"{self._address}: {type(error).__name__}: {str(error).splitlines()[:1]}; asking again")
                self._client = None
            time.sleep(_RETRY_SECONDS)


def watch(cloud: Any, raylet: Raylet, drain: Drain, poll_seconds: float) -> None:
    """Ask `cloud` every `poll_seconds`, drain at each new notice, and return when the raylet has ended."""
    changed = Changes()
    told = ""
    while raylet.alive():
        try:
            notice = cloud.notice()
            if notice and notice.text != told:
                say(f"{cloud.name}: {notice.text}")
                drain(notice)
                told = notice.text
            changed("")
        except (OSError, ValueError, KeyError) as error:
            changed(f"{cloud.name}: {cloud.metadata.endpoint} does not answer as expected: {error}")
        time.sleep(poll_seconds)
    say("the raylet has ended")


def main() -> int:
    """Run from the command line; returns the exit status."""
    options = _arguments()
    if options.daemon:
        detach(options.log)
        take_over(options.log.with_suffix(".pid"))
    cloud = this_cloud(options.cloud, options.endpoint)
    if cloud is None:
        say("no cloud's metadata service answers: this machine gets no spot notices")
        return 0
    raylet = this_raylet(options.node_id)
    if raylet is None:
        say("no raylet runs here: start it after `ray start`")
        return 1
    poll_seconds = options.poll_seconds or cloud.poll_seconds
    say(f"{cloud.name}: asking {cloud.metadata.endpoint} every {poll_seconds:g} s; node {raylet.node_id}")
    drain = Drain(raylet, options.address)
    drain.prepare()
    watch(cloud, raylet, drain, poll_seconds)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--daemon", action="store_true", help="in the background, in place of an earlier one")
    parser.add_argument("--poll-seconds", type=float, help="between two questions (default: 5 on AWS, 1 elsewhere)")
    parser.add_argument("--cloud", choices=CLOUDS, help="do not find out")
    parser.add_argument("--endpoint", help="of the metadata service (default: the cloud's variable or address)")
    parser.add_argument("--address", help="HOST:PORT of Ray's head (default: the raylet's own)")
    parser.add_argument("--node-id", help="of the node, where a machine has several (default: the newest raylet's)")
    parser.add_argument("--log", type=Path, default=Path.home() / "spot_watch.log", help="with --daemon")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
