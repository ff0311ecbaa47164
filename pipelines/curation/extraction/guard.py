"""Pages are parsed in a child process, so that one that never ends, or breaks the parser, costs itself alone.

A worker has one child (`pipelines.curation.extraction.child`). Pages go to it in groups and come back one by one;
when one takes too long the child is killed, when the child dies the page it had in hand is to blame. In both cases a
new child goes on with the next page. The child is a fresh interpreter, not a fork: a worker of Ray has threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import IO

from pipelines.curation.documents import Raw
from pipelines.curation.extraction.settings import Extracted, ExtractionSettings, limited

GROUP_PAGES, GROUP_BYTES = 64, 1_000_000
PIPE_BYTES = 1 << 20
START_SECONDS = 120.0
"""How long a child may take to begin: a loaded machine imports slowly."""

Page = tuple[str | bytes, str | None, str | None]
"""HTML, its declared character set, and the title its record gave."""


class Extractor:
    """Texts of a stream of records, in order."""

    def __init__(self, settings: ExtractionSettings) -> None:
        self.settings = settings
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self, raws: Iterable[Raw]) -> Iterator[tuple[Raw, Extracted]]:
        """Each record with its text or problem. Records of text need no child and wait for the pages before them."""
        group: list[Raw] = []
        size = pages = 0
        for raw in raws:
            group.append(raw)
            if raw.problem is None:
                pages += raw.html is not None
                size += len(raw.html or raw.text or "")
            if size >= GROUP_BYTES or pages >= GROUP_PAGES or (pages == 0 and len(group) >= GROUP_PAGES):
                yield from self._group(group)
                group, size, pages = [], 0, 0
        yield from self._group(group)

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
            self._child = None

    def __del__(self) -> None:
        if getattr(self, "_child", None) is not None:
            self.close()

    def _group(self, raws: list[Raw]) -> Iterator[tuple[Raw, Extracted]]:
        waiting = [raw for raw in raws if raw.html is not None and raw.problem is None]
        found = self._texts([(raw.html or "", raw.charset, raw.title) for raw in waiting]) if waiting else iter(())
        for raw in raws:
            if raw.problem is not None:
                yield raw, Extracted(problem=raw.problem, detail=raw.detail)
            elif raw.html is not None:
                yield raw, next(found)
            else:
                yield raw, limited(raw.text or "", raw.title, self.settings)

    def _texts(self, pages: list[Page]) -> Iterator[Extracted]:
        left = pages
        while left:
            child = self._send(left)
            done = 0
            for _ in left:
                answer = self._receive(child)
                done += 1
                if isinstance(answer, str):
                    self.close()
                    limit = self.settings.max_seconds
                    yield (
                        Extracted(problem="timeout", score=limit, threshold=limit)
                        if answer == "timeout"
                        else Extracted(problem="crash", detail=answer)
                    )
                    break
                yield answer
            left = left[done:]

    def _send(self, pages: list[Page]) -> subprocess.Popen[bytes]:
        """Give pages to a child, which reads all of them before it answers."""
        message = pickle.dumps(pages, pickle.HIGHEST_PROTOCOL)
        child = self._child or self._start()
        assert child.stdin is not None
        try:
            _write(child.stdin, message)
        except BrokenPipeError:
            # It died between two groups, with no page in hand.
            self.close()
            child = self._start()
            assert child.stdin is not None
            _write(child.stdin, message)
        return child

    def _receive(self, child: subprocess.Popen[bytes]) -> Extracted | str:
        """The next text; or "timeout", or how the child died."""
        assert child.stdout is not None
        data = _read(child.stdout, time.monotonic() + self.settings.max_seconds)
        if data is None:
            return "timeout"
        if not data:
            status = child.wait()
            return signal.Signals(-status).name if status < 0 else f"exit status {status}"
        answer: Extracted = pickle.loads(data)
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pipelines.curation.extraction.child", self.settings.model_dump_json()]
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env={**os.environ, "PYTHONPATH": path}
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        # Larger pipes mean fewer turns between the two processes; a system may refuse them.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._child.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        ready = _read(self._child.stdout, time.monotonic() + START_SECONDS)
        if ready != b"ready":
            message = ready.decode("utf-8", "replace") if ready else "it did not start"
            self.close()
            raise RuntimeError(f"the process that parses pages: {message}")
        return self._child


def _write(pipe: IO[bytes], message: bytes) -> None:
    view = memoryview(len(message).to_bytes(8, "big") + message)
    while view:
        view = view[pipe.write(view) :]


def _read(pipe: IO[bytes], until: float) -> bytes | None:
    """A message; b"" at the end of the pipe; None when the time is over before it is whole."""
    data, wanted = b"", 8
    number = pipe.fileno()
    while len(data) < wanted:
        ready, _, _ = select.select([number], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        piece = os.read(number, wanted - len(data))
        if not piece:
            return b""
        data += piece
        if wanted == 8 and len(data) == 8:
            wanted = 8 + int.from_bytes(data, "big")
    return data[8:]
