"""A metadata service as clouds have it, over real HTTP: EC2's version 2 with its token rules, GCP's, Azure's."""

from __future__ import annotations

import contextlib
import email.utils
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Service:
    """What the service tells (`notice`: seconds since the epoch) and what it was asked, with the moments."""

    endpoint: str = ""
    notice: float | None = None
    rebalance: bool = False
    tokens: set[str] = field(default_factory=set)
    asked: list[tuple[float, str, int]] = field(default_factory=list)
    others: list[str] = field(default_factory=lambda: ["another-machine"])

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """The status and the text for one request."""
        path, _, query = path.partition("?")
        if path.startswith("/latest/"):
            return self._ec2(method, path.removeprefix("/latest"), headers)
        if path.startswith("/computeMetadata/v1/"):
            return self._gcp(path.removeprefix("/computeMetadata/v1"), headers)
        if path.startswith("/metadata/"):
            return self._azure(path.removeprefix("/metadata"), query, headers)
        return 404, ""

    def _ec2(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if path == "/api/token":
            if method != "PUT":
                return 405, ""
            if not 1 <= int(headers.get("x-aws-ec2-metadata-token-ttl-seconds", 0)) <= 21_600:
                return 400, ""
            self.tokens.add(token := secrets.token_hex(8))
            return 200, token
        if headers.get("x-aws-ec2-metadata-token") not in self.tokens:
            return 401, ""
        if path == "/meta-data/instance-id":
            return 200, "i-0123456789abcdef0"
        if path == "/meta-data/spot/instance-action" and self.notice:
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.notice))
            return 200, json.dumps({"action": "terminate", "time": moment})
        if path == "/meta-data/events/recommendations/rebalance" and self.rebalance:
            return 200, json.dumps({"noticeTime": "2026-01-01T00:00:00Z"})
        return 404, ""

    def _gcp(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if headers.get("metadata-flavor") != "Google":
            return 403, ""
        known = {"/instance/id": "42", "/instance/preempted": "TRUE" if self.notice else "FALSE"}
        return (200, known[path]) if path in known else (404, "")

    def _azure(self, path: str, query: str, headers: dict[str, str]) -> tuple[int, str]:
        if headers.get("metadata") != "true" or "api-version=" not in query:
            return 400, ""
        if path == "/instance/compute/name":
            return 200, "this-machine"
        if path != "/scheduledevents":
            return 404, ""
        events = [{"EventId": "a", "EventType": "Preempt", "Resources": self.others, "NotBefore": ""}]
        events += [{"EventId": "b", "EventType": "Reboot", "Resources": ["this-machine"], "NotBefore": ""}]
        if self.notice:
            moment = email.utils.formatdate(self.notice, usegmt=True)
            events += [{"EventId": "c", "EventType": "Preempt", "Resources": ["this-machine"], "NotBefore": moment}]
        return 200, json.dumps({"Events": events})


@contextlib.contextmanager
def serving() -> Iterator[Service]:
    """A service on a free loopback port."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = service.answer(self.command, self.path, headers)
            service.asked.append((time.time(), f"{self.command} {self.path}", status))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
