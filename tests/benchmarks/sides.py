"""Sides of a comparison: each is a process of its own, bound to one CPU, that measures when it is told to."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Side:
    """A process that measures one file for each line it is given."""

    def __init__(self, command: list[str], cpu: int) -> None:
        self._process = subprocess.Popen(
            ["taskset", "-c", str(cpu), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def measure(self, path: Path) -> dict[str, float]:
        """Seconds by part."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a side of the benchmark ended with status {self._process.wait()}")
        return {name: float(value) for name, value in json.loads(answer).items()}

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def head(sources: list[Path], target: Path, most: int) -> int:
    """Put rows of several files together, by turns, up to so many bytes of text or HTML; returns these bytes."""
    rows = [path.open(encoding="utf-8") for path in sources]
    size = 0
    with target.open("w", encoding="utf-8") as out:
        while size < most:
            lines = [line for file in rows if (line := file.readline())]
            if not lines:
                break
            for line in lines:
                row = json.loads(line)
                size += len((row.get("text") or row.get("html") or "").encode())
                out.write(line)
    return size
