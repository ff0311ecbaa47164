"""EC2 on one machine: moto's API, and for every instance that it "launches" a host at the address that it gave it.

    python -m tests.cluster.lab.cloud NETWORK-DIRECTORY     (in the network's switch namespace: `Network.on_switch`)

So `ray up cluster/aws.yaml` runs to its end: instances accept SSH with the key pair that Ray made, the autoscaler on
the head launches and terminates others through the same API, and S3 is there, too. Terminated instances are switched
off. What happened stands in `cloud.jsonl` below the directory, one JSON object an event.

On METADATA each instance finds its metadata service (version 2); POST /reclaim/<instance id>?seconds=20 gives a spot
instance its notice, and takes it away that much later.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.cluster.lab.hosts import SWITCH_ADDRESS, Network

API = f"http://{SWITCH_ADDRESS}:5000"
METADATA = f"http://{SWITCH_ADDRESS}:1338"
REGION = "us-west-2"
VARIABLES = {
    "AWS_ENDPOINT_URL": API,
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": METADATA,
    "AWS_ACCESS_KEY_ID": "lab",
    "AWS_SECRET_ACCESS_KEY": "lab",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}
"""Of every machine of the network: where the cloud is."""

_BOOT_SECONDS = 1.0


class Cloud:
    """Instances and their hosts, kept equal by `step`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.addresses: dict[str, str] = {}
        self.notices: dict[str, float] = {}
        self._failed: set[str] = set()
        self._log = (network.directory / "cloud.jsonl").open("a", buffering=1)

    def tell(self, event: str, instance: str, **more: Any) -> None:
        """A line of `cloud.jsonl`."""
        self._log.write(json.dumps({"event": event, "id": instance, "at": round(time.time(), 2), **more}) + "\n")

    def step(self) -> None:
        """Switch on what was launched, and off what was terminated."""
        for backend, instance in list(_instances()):
            alive = instance.state in ("pending", "running")
            try:
                if alive and instance.id not in self.addresses and instance.id not in self._failed:
                    self._launch(backend, instance)
                elif not alive and instance.id in self.addresses:
                    self.addresses.pop(instance.id)
                    self.network.switch_off(instance.id)
                    self.tell("terminated", instance.id)
            except Exception:  # one instance's trouble is not the others'
                traceback.print_exc()
                self._failed.add(instance.id)

    def reclaim(self, instance_id: str, seconds: float) -> None:
        """A spot interruption: the notice now, the end after so many seconds."""
        self.notices[instance_id] = time.time() + seconds
        self.tell("notice", instance_id, seconds=seconds)

        def take() -> None:
            for backend, instance in _instances():
                if instance.id == instance_id:
                    backend.terminate_instances([instance_id])

        threading.Timer(seconds, take).start()

    def _launch(self, backend: Any, instance: Any) -> None:
        time.sleep(_BOOT_SECONDS)
        key = backend.key_pairs[instance.key_name].material_public
        self.network.add(instance.id, instance.private_ip, key.decode() if isinstance(key, bytes) else key)
        self.addresses[instance.id] = instance.private_ip
        self.tell(
            "launched",
            instance.id,
            ip=instance.private_ip,
            type=instance.instance_type,
            image=instance.image_id,
            market=instance.lifecycle or "on-demand",
            zone=instance.placement.zone,
            profile=(instance.iam_instance_profile or {}).get("Arn", ""),
            groups=[group.id for group in instance.security_groups],
            metadata=instance.metadata_options.http_tokens,
            tags={tag["key"]: tag["value"] for tag in instance.get_tags()},
        )


def _instances() -> Iterator[tuple[Any, Any]]:
    from moto.ec2.models import ec2_backends

    for account in list(ec2_backends.values()):
        for backend in list(account.values()):
            for reservation in list(backend.reservations.values()):
                for instance in reservation.instances:
                    yield backend, instance


def _metadata(cloud: Cloud) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words: Any) -> None: ...

        def answer(self, code: int, body: str = "") -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_PUT(self) -> None:
            self.answer(200, "session") if self.path == "/latest/api/token" else self.answer(404)

        def do_GET(self) -> None:
            mine = next((name for name, ip in cloud.addresses.items() if ip == self.client_address[0]), None)
            if self.headers.get("X-aws-ec2-metadata-token") != "session":
                return self.answer(401)
            if self.path == "/latest/meta-data/instance-id" and mine:
                return self.answer(200, mine)
            if self.path == "/latest/meta-data/spot/instance-action" and mine in cloud.notices:
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(cloud.notices[mine]))
                return self.answer(200, json.dumps({"action": "terminate", "time": when}))
            return self.answer(404)

        def do_POST(self) -> None:
            asked = urllib.parse.urlparse(self.path)
            instance = asked.path.rpartition("/")[2]
            if not asked.path.startswith("/reclaim/") or instance not in cloud.addresses:
                return self.answer(404)
            cloud.reclaim(instance, float(urllib.parse.parse_qs(asked.query).get("seconds", ["120"])[0]))
            return self.answer(200, "ok")

    return Handler


def main() -> None:
    """Serve until SIGTERM; then all hosts of instances are off."""
    # Ray attaches policies of AWS's own to the role that it makes where the file names none.
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    from moto.server import ThreadedMotoServer

    directory = Path(sys.argv[1])
    cloud = Cloud(Network(VARIABLES, directory))
    ThreadedMotoServer(ip_address=SWITCH_ADDRESS, port=5000, verbose=False).start()
    metadata = ThreadingHTTPServer((SWITCH_ADDRESS, 1338), _metadata(cloud))
    threading.Thread(target=metadata.serve_forever, daemon=True).start()
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ending.set())
    cloud.tell("serving", "")
    while not ending.wait(0.5):
        cloud.step()
    for name in list(cloud.network.hosts):
        with contextlib.suppress(RuntimeError):
            cloud.network.switch_off(name)
    os._exit(0)


if __name__ == "__main__":
    main()
