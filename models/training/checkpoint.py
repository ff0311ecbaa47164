"""Checkpoints: what every worker wrote, `meta.json`, and `COMMITTED` last.

A run's checkpoints are directories `step-<number>` below one root. Each worker writes its part into a local directory
of its own, which is all that training waits for; a thread takes it to the root, byte by byte once, with a list of its
files and their checksums. When the lists of all workers are there, rank 0's thread writes `meta.json` and the marker.
A directory without the marker is the remains of a crash or a failure: it is never read, and it is removed when the
run continues. So what can be read is complete, whenever the writers were killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from models.training.uploading import Upload, checksum, failure_name, manifest_name, wait_for_parts
from models.training.workers import Workers

FORMAT_VERSION = 2
MARKER = "COMMITTED"
_NAME = re.compile(r"step-(\d+)")
_PART = ".part-"
"""Names of directories below a local root that a worker fills."""
_PARTS_SECONDS = 3600.0
"""So long rank 0 waits for the other workers' parts."""


@dataclass(frozen=True)
class Meta:
    """What a checkpoint is of.

    Attributes:
        step: optimizer steps done.
        tokens: tokens seen.
        samples: the data cursor: samples drawn, those skipped included.
        skipped: steps left out.
        seconds: training time so far.
        world: number of workers that wrote it.
        run: fingerprint of what makes the run: model, training settings, data, start.
        skipped_samples: samples that a guard went past.
        rollbacks: how often it went back.
        zero_stage: what was sharded.
        engine: who wrote the workers' parts.
        guard: the guard's state.
        format_version: of this layout.
    """

    step: int
    tokens: int
    samples: int
    skipped: int
    seconds: float
    world: int
    run: str
    skipped_samples: int = 0
    rollbacks: int = 0
    zero_stage: int = 0
    engine: str = "torch"
    guard: dict[str, Any] = field(default_factory=dict)
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
        keep: how many of the newest stay.
        milestone_every: those of steps that are multiples of it stay too; 0: none.
    """

    def __init__(self, root: str, workers: Workers, keep: int = 2, milestone_every: int = 0) -> None:
        self.root, self.workers, self._keep, self._milestone = root.rstrip("/"), workers, keep, milestone_every
        self._upload: Upload | None = None
        self._location, self._step = "", -1
        self._landed: list[str] = []
        self._failed: list[str] = []
        self._problem: str | None = None

    def committed(self) -> list[tuple[str, Meta]]:
        """(location, meta) of all complete checkpoints, oldest first."""
        found = []
        for name in self._names():
            location = f"{self.root}/{name}"
            if read_file(f"{location}/{MARKER}") is None:
                continue
            raw = read_file(f"{location}/meta.json")
            if raw is not None:
                values = json.loads(raw)
                if values.get("format_version") == FORMAT_VERSION:
                    found.append((location, Meta(**values)))
        return sorted(found, key=lambda pair: pair[1].step)

    def newest(self) -> tuple[str, Meta] | None:
        """The complete checkpoint with the most steps."""
        found = self.committed()
        return found[-1] if found else None

    def remove_incomplete(self) -> None:
        """Remove what crashes left; only while nobody writes."""
        complete = {location for location, _ in self.committed()}
        fs, path = open_location(self.root)
        for info in fs.get_file_info(pafs.FileSelector(path, allow_not_found=True)):
            name = info.base_name
            if name.startswith(_PART) or (_NAME.fullmatch(name) and f"{self.root}/{name}" not in complete):
                remove(f"{self.root}/{name}")

    def save(self, meta: Meta, write: Callable[[str], None]) -> None:
        """Begin a checkpoint; called by all workers, who wait for `write` only.

        What goes wrong is told by `failed`; the checkpoints before stay. A save before this one is waited for first.

        Args:
            meta: what it is of.
            write: writes this worker's files into the local directory it is given.
        """
        self.wait()
        self._location, self._step, self._problem = f"{self.root}/step-{meta.step:08d}", meta.step, None
        files, path = open_location(self._location)
        if self.workers.first:
            remove(self._location)
            files.create_dir(path, recursive=True)
        self.workers.barrier()
        # Below the root a part lands by renaming its files.
        above = os.path.dirname(path) if isinstance(files, pafs.LocalFileSystem) else None
        local = Path(tempfile.mkdtemp(prefix=f"{_PART}{self.workers.rank}-", dir=above))
        try:
            write(str(local))
        except (OSError, RuntimeError) as error:
            # Of a full disk torch says RuntimeError. The other workers, and rank 0's thread, learn it from a file.
            shutil.rmtree(local, ignore_errors=True)
            self._fail(error)
            with contextlib.suppress(OSError):
                write_file(f"{self._location}/{failure_name(self.workers.rank)}", str(error).encode())
            return
        commit = (lambda: self._commit(files, path, meta)) if self.workers.first else None
        self._upload = Upload(local, files, path, self.workers.rank, commit)

    def _commit(self, files: pafs.FileSystem, path: str, meta: Meta) -> None:
        wait_for_parts(files, path, self.workers.world, _PARTS_SECONDS)
        write_file(f"{self._location}/meta.json", json.dumps(asdict(meta), indent=1).encode())
        write_file(f"{self._location}/{MARKER}", b"")
        for location, old in self.committed()[: -self._keep]:
            if not self._milestone or old.step % self._milestone:
                remove(location)

    def _settle(self) -> None:
        if self._upload is None or self._upload.running:
            return
        if self._upload.error is None:
            self._landed.append(self._location)
        else:
            self._fail(self._upload.error)
        self._upload = None

    def _fail(self, error: Exception) -> None:
        self._problem = f"checkpoint of step {self._step} was not written: {error}"
        self._failed.append(self._problem)

    def landed(self) -> list[str]:
        """Locations committed since the last call; rank 0 knows, others answer with nothing. Never waits."""
        self._settle()
        found, self._landed = self._landed, []
        return found if self.workers.first else []

    def failed(self) -> list[str]:
        """What became of saves that failed since the last call, in words; as `landed`."""
        self._settle()
        found, self._failed = self._failed, []
        return found if self.workers.first else []

    def wait(self, required: bool = False) -> None:
        """Until the save that goes on is committed or has failed; called by all workers.

        Raises:
            RuntimeError: `required`, and the newest save failed; on all workers.
        """
        if self._upload is not None:
            self._upload.join()
            self._settle()
        if required:
            problem = self.workers.from_first(self._problem)
            if problem is not None:
                raise RuntimeError(problem)

    def load(self, location: str, read: Callable[[str], None]) -> None:
        """Hand a checkpoint's local directory to `read`; called by all workers.

        Raises:
            OSError: a file is not as it was written, by its size or checksum.
        """
        files, path = open_location(location)
        if isinstance(files, pafs.LocalFileSystem):
            verify(Path(path))
            read(path)
            return
        with tempfile.TemporaryDirectory() as local:
            pafs.copy_files(path, local, source_filesystem=files)
            verify(Path(local))
            read(local)

    def _names(self) -> list[str]:
        fs, path = open_location(self.root)
        infos: list[Any] = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        return sorted(info.base_name for info in infos if _NAME.fullmatch(info.base_name))


def verify(directory: Path) -> None:
    """Compare the files of a local checkpoint with the workers' lists.

    Raises:
        OSError: with the file, what was expected and what is there.
    """
    world = json.loads((directory / "meta.json").read_text())["world"]
    for rank in range(world):
        for name, listed in json.loads((directory / manifest_name(rank)).read_text())["files"].items():
            path = directory / name
            size = path.stat().st_size if path.exists() else -1
            if size != listed["bytes"]:
                there = "is not there" if size < 0 else f"has {size:,} bytes"
                raise OSError(f"{path}: {there}, expected {listed['bytes']:,} bytes")
            if checksum(path) != listed["xxh3_128"]:
                raise OSError(f"{path}: its bytes are not those that were written")
