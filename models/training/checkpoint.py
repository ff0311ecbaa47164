"""Checkpoints: what every worker wrote, `meta.json`, and `COMMITTED` last.

A run's checkpoints are directories `step-<number>` below one root. Each worker copies the pieces that it holds
(`pieces`), which is all that training waits for; a thread writes them to the root, byte by byte once, with a list of
where each lies and their checksums. When the lists of all workers are there, rank 0's thread writes `meta.json` and
the marker, which holds the checksum of `meta.json`. A directory without the marker is the remains of a crash or a
failure: it is never read, and it is removed when the run continues. So what can be read is complete, whenever the
writers were killed; and any number of workers, with any engine, reads from it what it needs.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow.fs as pafs
import xxhash

from models.training.pieces import Piece, Snapshot, StoredPieces, unseal
from models.training.storage import DamagedError, open_location, patiently, read_file, remove, write_file
from models.training.uploading import Upload, manifest_name, wait_for_parts
from models.training.workers import Workers

FORMAT_VERSION = 4
MARKER = "COMMITTED"
META = "meta.json"
_NAME = re.compile(r"step-(\d+)")
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
        optimizer_steps: steps that the optimizer took.
        guard: the guard's state.
        figures: the newest of loss, speed and validation.
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
    optimizer_steps: int = 0
    guard: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


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
        self._snapshot = Snapshot()
        self._unreadable: dict[str, str] = {}

    def committed(self) -> list[tuple[str, Meta]]:
        """(location, meta) of all complete checkpoints, oldest first."""
        found = []
        for name in self._names():
            location = f"{self.root}/{name}"
            if (marker := read_file(f"{location}/{MARKER}")) is None:
                continue
            try:
                found.append((location, _meta(location, marker)))
            except DamagedError as error:
                self._unreadable[location] = str(error)
        return sorted(found, key=lambda pair: pair[1].step)

    def unreadable(self) -> list[str]:
        """What is wrong with committed checkpoints that `committed` left out, in words."""
        return [why for _, why in sorted(self._unreadable.items())]

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

    def save(self, meta: Meta, pieces: Sequence[Piece]) -> None:
        """Begin a checkpoint; called by all workers, who wait until their pieces are copied.

        What goes wrong is told by `failed`; the checkpoints before stay. A save before this one is waited for first.

        Args:
            meta: what it is of.
            pieces: what this worker holds of it.
        """
        self.wait()
        self._location, self._step, self._problem = f"{self.root}/step-{meta.step:08d}", meta.step, None
        files, path = open_location(self._location)
        taken = self._snapshot.take(pieces)
        problem = None
        if self.workers.first:
            try:
                patiently(lambda: remove(self._location))
            except OSError as error:
                problem = error
        problem = self.workers.from_first(problem)
        if problem is not None:
            self._fail(problem)
            return
        commit = (lambda: self._commit(files, path, meta)) if self.workers.first else None
        self._upload = Upload(taken, files, path, self.workers.rank, commit)

    def _commit(self, files: pafs.FileSystem, path: str, meta: Meta) -> None:
        wait_for_parts(files, path, self.workers.world, _PARTS_SECONDS)
        told = json.dumps(asdict(meta), indent=1).encode()
        patiently(lambda: write_file(f"{self._location}/{META}", told))
        patiently(lambda: write_file(f"{self._location}/{MARKER}", xxhash.xxh3_128_hexdigest(told).encode()))
        # What cannot be removed now is removed after the next one.
        with contextlib.suppress(OSError):
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

    @property
    def busy(self) -> bool:
        """Whether this worker's part of the newest save goes on; rank 0 waits in its own for the others'."""
        return self._upload is not None and self._upload.running

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

    def load(self, location: str, wanted: Sequence[Piece]) -> None:
        """Read what these pieces are to hold from a checkpoint; every worker what it needs.

        Raises:
            DamagedError: a file is not as it was written.
        """
        patiently(lambda: stored_pieces(location).fill(wanted))

    def _names(self) -> list[str]:
        fs, path = open_location(self.root)
        infos: list[Any] = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        return sorted(info.base_name for info in infos if _NAME.fullmatch(info.base_name))


def _meta(location: str, marker: bytes) -> Meta:
    """What a checkpoint with this marker is of."""
    raw = read_file(f"{location}/{META}")
    if raw is None:
        raise DamagedError(f"{location}/{META}: is not there")
    if xxhash.xxh3_128_hexdigest(raw) != marker.decode(errors="replace"):
        version = _version(raw)
        if version is not None and version != FORMAT_VERSION:
            raise DamagedError(f"{location}: has format {version}, this groundwork reads {FORMAT_VERSION}")
        raise DamagedError(f"{location}/{META}: its bytes are not those that were written")
    return Meta(**json.loads(raw))


def _version(raw: bytes) -> Any:
    try:
        return json.loads(raw).get("format_version")
    except (ValueError, AttributeError):
        return None


def committed_meta(location: str) -> Meta:
    """What the committed checkpoint there is of.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is not as it was written.
    """
    marker = read_file(f"{location}/{MARKER}")
    if marker is None:
        raise FileNotFoundError(f"{location}: expected a checkpoint with {META} and {MARKER}")
    return _meta(location, marker)


def stored_pieces(location: str) -> StoredPieces:
    """What the workers wrote into a committed checkpoint.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: a list is missing or cannot be read.
    """
    files, path = open_location(location)
    lists = []
    for rank in range(committed_meta(location).world):
        name = f"{location}/{manifest_name(rank)}"
        if (raw := read_file(name)) is None:
            raise DamagedError(f"{name}: is not there")
        try:
            lists.append(unseal(raw))
        except ValueError:
            raise DamagedError(f"{name}: its bytes are not those that were written") from None
    return StoredPieces(files, path, lists)


def nothing_left(damaged: Sequence[str]) -> str:
    """What to say where all checkpoints are damaged."""
    return f"no checkpoint of this run can be read, start anew with training.resume=false: {'; '.join(damaged)}"
