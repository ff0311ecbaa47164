"""An S3 endpoint on loopback that fails as networks and stores do."""

import contextlib
import itertools
import logging
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

FAULTS = ("500", "503", "lost before", "lost after", "cut off")
S3 = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Unsteady:
    """moto's S3 server on loopback; of `every` so many requests one fails, in all the ways of `FAULTS` in turn."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self.every: int | None = None
        self.seconds = 0.0
        self.failed: Counter[str] = Counter()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._requests, self._faults = itertools.count(1), itertools.cycle(FAULTS)
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __call__(self, environ: dict, start: Callable) -> object:
        time.sleep(self.seconds)
        fault = self._next()
        if fault is None or (fault == "full" and environ["REQUEST_METHOD"] not in ("PUT", "POST")):
            return self._app(environ, start)
        if fault == "full":
            start("507 Insufficient Storage", [("Content-Type", "application/xml")])
            return [b"<Error><Code>InsufficientStorage</Code></Error>"]
        if fault in ("500", "503"):
            start(f"{fault} Failed", [("Content-Type", "application/xml")])
            code = b"InternalError" if fault == "500" else b"SlowDown"
            return [b"<Error><Code>" + code + b"</Code></Error>"]
        connection = environ["werkzeug.socket"]
        if fault == "lost before":
            connection.shutdown(socket.SHUT_RDWR)
            return []
        answer: list = []
        body = b"".join(self._app(environ, lambda *given: answer.append(given)))
        if fault == "lost after":
            connection.shutdown(socket.SHUT_RDWR)
            return []
        start(*answer[0])
        return self._half(body, connection)

    def _half(self, body: bytes, connection: socket.socket) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        connection.shutdown(socket.SHUT_RDWR)

    def _next(self) -> str | None:
        with self._lock:
            if self.every is None or next(self._requests) % self.every:
                return None
            fault = next(self._faults)
            self.failed[fault] += 1
            return fault

    @contextlib.contextmanager
    def failing(self, every: int, faults: Sequence[str] = FAULTS) -> Iterator[Counter[str]]:
        """The faults so far, by kind."""
        self.failed = Counter()
        self.fail(every, faults)
        try:
            yield self.failed
        finally:
            self.fail(None)

    def fail(self, every: int | None, faults: Sequence[str] = FAULTS) -> None:
        """From now on; None: no more. `full` refuses what writes, besides those of `FAULTS`."""
        self.every, self._faults = every, itertools.cycle(faults)

    def slow(self, seconds: float) -> None:
        """From now on every answer takes so long."""
        self.seconds = seconds

    def stop(self) -> None:
        self._server.shutdown()


@contextlib.contextmanager
def serving() -> Iterator[Unsteady]:
    """A server with an empty bucket, and this process's environment set to it; no connection to another one is left.

    moto keeps its objects for the process, whichever server they were given to: they are cleared.
    """
    import boto3

    from models.training import storage as training_storage
    from pipelines import storage

    def forget() -> None:
        storage._s3.cache_clear()
        training_storage._s3.cache_clear()

    forget()
    server = Unsteady()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**S3, "AWS_ENDPOINT_URL": server.url}.items():
            patch.setenv(name, value)
        urllib.request.urlopen(urllib.request.Request(f"{server.url}/moto-api/reset", method="POST"))
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield server
    forget()
    server.stop()
