"""Lines of JSON, each of a step, in a file that storage may refuse to take; what was wrong is read from them."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections import Counter
from typing import Any

import pyarrow.fs as pafs

from models.training.storage import open_location, patiently, read_file, write_file


class StepLines:
    """A file of JSON lines, each of a step; where files cannot be appended to, it is written whole at each `sync`.

    Storage that refuses a line gets it with a later one: the run goes on.

    Args:
        location: absolute path or URI of the file.
        resumed_step: lines of later steps are dropped: those steps are done again. 0: the file begins anew.

    Attributes:
        newest: the largest step of the lines that were there.
    """

    def __init__(self, location: str, resumed_step: int) -> None:
        self.location = location
        fs, self._path = open_location(location)
        self._local = isinstance(fs, pafs.LocalFileSystem)
        self._pending = b""
        before = patiently(self._read)
        steps = [_parsed(line).get("step", math.inf) for line in before]
        self.newest = max((step for step in steps if step < math.inf), default=0)
        self._lines: list[bytes] = []
        self._keep([line for line, step in zip(before, steps, strict=True) if resumed_step and step <= resumed_step])

    def rewind(self, step: int) -> None:
        """Drop the lines of later steps, which are done again; lines of events stay."""
        lines = patiently(self._read) + self._pending.splitlines() if self._local else self._lines
        parsed = [(line, _parsed(line)) for line in lines]
        self._keep([line for line, values in parsed if values.get("step", math.inf) <= step or "event" in values])

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Add lines."""
        new = [json.dumps(line, ensure_ascii=False).encode() for line in lines]
        if not self._local:
            self._lines += new
            return
        self._pending += b"".join(line + b"\n" for line in new)
        with contextlib.suppress(OSError), open(self._path, "ab", buffering=0) as file:
            while self._pending:
                self._pending = self._pending[file.write(self._pending) :]

    def sync(self) -> None:
        """Have the file hold all lines, if storage takes them."""
        if self._local:
            self.write([])
            return
        with contextlib.suppress(OSError):
            write_file(self.location, b"".join(line + b"\n" for line in self._lines))

    def _read(self) -> list[bytes]:
        return (read_file(self.location) or b"").splitlines()

    def _keep(self, lines: list[bytes]) -> None:
        content = b"".join(line + b"\n" for line in lines)
        patiently(lambda: write_file(self.location, content))
        self._pending = b""
        self._lines = [] if self._local else lines


def _parsed(line: bytes) -> dict[str, Any]:
    """A line's values; of one that a crash cut short, none."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def left_out(location: str) -> str:
    """Why steps were left out, each reason with its number of steps; empty: none was.

    Args:
        location: of a run's metric lines.
    """
    lines = (json.loads(line) for line in (read_file(location) or b"").splitlines() if b'"bad"' in line)
    reasons = Counter(re.sub(r"above .*", "far above those before", line["bad"]) for line in lines)
    return ", ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common())
