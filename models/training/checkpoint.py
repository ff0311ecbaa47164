"""Checkpoints: what every worker wrote, `meta.json`, and `COMMITTED` last.

A run's checkpoints are directories `step-<number>` below one root. All workers write their parts there (by way of a
temporary directory when the root is no local path), meet at a barrier, and only then does rank 0 write `meta.json`
and the marker. A directory without the marker is the remains of a crash: it is never read, and it is removed when
the run continues. So what can be read is complete, whenever the writers were killed.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.fs as pafs

from models.training.workers import Workers

FORMAT_VERSION = 1
MARKER = "COMMITTED"
_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Meta:
    """What a checkpoint is of.

    Attributes:
        step: optimizer steps done.
        tokens: tokens seen.
        samples: samples drawn: the data cursor.
        skipped: steps left out for a non-finite gradient.
        seconds: training time so far.
        world: number of workers that wrote it.
        run: fingerprint of what makes the run: model, training settings, data, start.
        format_version: of this layout.
    """

    step: int
    tokens: int
    samples: int
    skipped: int
    seconds: float
    world: int
    run: str
    format_version: int = FORMAT_VERSION


def open_location(location: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem that holds an absolute path or URI, and the path on it."""
    if "://" in location:
        return pafs.FileSystem.from_uri(location)
    return pafs.LocalFileSystem(), os.path.abspath(location)


def write_file(location: str, data: bytes) -> None:
    """Write a small file so that a reader sees all of it or none."""
    fs, path = open_location(location)
    fs.create_dir(os.path.dirname(path), recursive=True)
    temporary = f"{path}.tmp-{os.getpid()}"
    with fs.open_output_stream(temporary, compression=None) as stream:
        stream.write(data)
    fs.move(temporary, path)


def read_file(location: str) -> bytes | None:
    """A small file; None when it is not there."""
    fs, path = open_location(location)
    try:
        with fs.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None


def remove(location: str) -> None:
    """Delete a directory with all it holds; nothing there is fine."""
    fs, path = open_location(location)
    if fs.get_file_info(path).type == pafs.FileType.Directory:
        fs.delete_dir(path)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        root: absolute path or URI of the directory that holds them; all workers reach it.
        workers: who writes.
    """

    def __init__(self, root: str, workers: Workers) -> None:
        self.root, self.workers = root.rstrip("/"), workers

    def committed(self) -> list[tuple[str, Meta]]:
        """(location, meta) of all complete checkpoints, oldest first."""
        found = []
        for name in self._names():
            location = f"{self.root}/{name}"
            if read_file(f"{location}/{MARKER}") is None:
                continue
            raw = read_file(f"{location}/meta.json")
            if raw is not None:
                found.append((location, Meta(**json.loads(raw))))
        return sorted(found, key=lambda pair: pair[1].step)

    def newest(self) -> tuple[str, Meta] | None:
        """The complete checkpoint with the most steps."""
        found = self.committed()
        return found[-1] if found else None

    def remove_incomplete(self) -> None:
        """Remove what crashes left; only while nobody writes."""
        complete = {location for location, _ in self.committed()}
        for name in self._names():
            if f"{self.root}/{name}" not in complete:
                remove(f"{self.root}/{name}")

    def keep(self, newest: int) -> None:
        """Remove all complete checkpoints but the newest ones."""
        for location, _ in self.committed()[:-newest]:
            remove(location)

    def save(self, meta: Meta, write: Callable[[str], None]) -> str:
        """Write a checkpoint; called by all workers.

        Args:
            meta: what it is of.
            write: writes this worker's files into the local directory it is given.

        Returns:
            the checkpoint's location, complete.
        """
        location = f"{self.root}/step-{meta.step:08d}"
        fs, path = open_location(location)
        if self.workers.first:
            remove(location)
            fs.create_dir(path, recursive=True)
        self.workers.barrier()
        if isinstance(fs, pafs.LocalFileSystem):
            write(path)
        else:
            with tempfile.TemporaryDirectory() as local:
                write(local)
                pafs.copy_files(local, path, destination_filesystem=fs)
        self.workers.barrier()
        if self.workers.first:
            write_file(f"{location}/meta.json", json.dumps(asdict(meta), indent=1).encode())
            write_file(f"{location}/{MARKER}", b"")
        return location

    def load(self, location: str, read: Callable[[str], None]) -> None:
        """Hand a checkpoint's local directory to `read`; called by all workers."""
        fs, path = open_location(location)
        if isinstance(fs, pafs.LocalFileSystem):
            read(path)
            return
        with tempfile.TemporaryDirectory() as local:
            pafs.copy_files(path, local, source_filesystem=fs)
            read(local)

    def _names(self) -> list[str]:
        fs, path = open_location(self.root)
        infos: list[Any] = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        return sorted(info.base_name for info in infos if _NAME.fullmatch(info.base_name))
