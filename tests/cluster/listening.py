"""Every TCP port that a head's processes listen on, and everything that Ray's servers answer to there."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from jobs import head as heads
from jobs.head import Head

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


@dataclass(frozen=True)
class Port:
    """A listening socket: whose it is, and an address of this machine at which it answers."""

    process: str
    bound: str
    host: str
    number: int


def ports(head: Head) -> list[Port]:
    """Of all the head's processes."""
    found = {}
    for pid in heads.processes(head):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    bound = connection.laddr.ip.removeprefix("::ffff:")
                    host = "127.0.0.1" if bound in ("::", "0.0.0.0") else bound
                    port = Port(process.name(), bound, host, connection.laddr.port)
                    found[bound, port.number] = port
    return list(found.values())


def routes(log: Path) -> list[tuple[str, str]]:
    """Method and path of all routes that an HTTP server of Ray has: it logs its own table when it starts."""
    found = re.findall(r"<ResourceRoute \[(\w+)\] <(?:\w+)Resource\s+(\S+?)(?:>| ->)", log.read_text())
    return [(method, re.sub(r"\{\w+\}", "x", path)) for method, path in found]


def status(port: Port | tuple[str, int], method: str, path: str, token: str | None = None) -> int:
    """The status of one request, whose path is sent as it is."""
    host, number = port if isinstance(port, tuple) else (port.host, port.number)
    connection = http.client.HTTPConnection(host, number, timeout=10)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def rpc_methods(binaries: Sequence[Path]) -> set[str]:
    """All gRPC methods that Ray's servers and its Python code know, by the names that they hold."""
    import importlib
    import pkgutil

    from ray.core import generated

    found = set()
    for binary in binaries:
        found |= {name.decode() for name in re.findall(rb"/ray\.rpc\.[\w.]+/\w+", binary.read_bytes())}
    for module in pkgutil.iter_modules(generated.__path__):
        if module.name.endswith("_pb2"):
            descriptor = importlib.import_module(f"ray.core.generated.{module.name}").DESCRIPTOR
            for service in descriptor.services_by_name.values():
                found |= {f"/{service.full_name}/{method.name}" for method in service.methods}
    return found


def http_status(port: Port) -> int | None:
    """What a port answers to a request for the list of jobs; None when it speaks no HTTP."""
    try:
        return status(port, "GET", "/api/jobs/")
    except (http.client.HTTPException, OSError):
        return None


def rpc_answers(port: Port, methods: set[str], token: str | None = None) -> Counter[str]:
    """How often a port gave which status to an empty request for each method."""
    import grpc

    # Ray 2.60's RaySyncer/StartSync aborts its process when this name is missing, before it looks at the token.
    metadata = [("node_id", "ab" * 28), *([("authorization", f"Bearer {token}")] if token else [])]
    answers: Counter[str] = Counter()
    with grpc.insecure_channel(f"{port.host}:{port.number}") as channel:
        for method in sorted(methods):
            try:
                channel.unary_unary(method)(b"", timeout=5, metadata=metadata)
                answers[f"OK {method}"] += 1
            except grpc.RpcError as error:
                answers[error.code().name] += 1
    return answers
