"""A worker's part of a checkpoint on its way to storage, while training goes on."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.fs as pafs
import xxhash

_BLOCK = 16 << 20


def manifest_name(rank: int) -> str:
    """Of the file that lists what a worker wrote."""
    return f"rank-{rank:05d}.json"


def failure_name(rank: int) -> str:
    """Of the file that says why a worker could not write."""
    return f"rank-{rank:05d}.failed"


def checksum(path: Path) -> str:
    """xxh3-128 of a local file."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Upload:
    """Hands the files of a local directory over to storage in a thread, and removes the directory.

    Each byte is written once. The manifest comes last: `{"files": {name: {"bytes", "xxh3_128"}}}`. What goes wrong is
    written beside it, where it can be, and kept in `error`.

    Args:
        local: the directory.
        files: where storage is.
        path: the checkpoint's directory there.
        rank: whose part it is.
        then: called in the thread when the part is there, to finish the checkpoint.
    """

    def __init__(
        self, local: Path, files: pafs.FileSystem, path: str, rank: int, then: Callable[[], None] | None
    ) -> None:
        self._local, self._files, self._path, self._rank, self._then = local, files, path, rank, then
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="checkpoint-upload", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it is still at it."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def _work(self) -> None:
        try:
            self._hand_over()
            if self._then is not None:
                self._then()
        except Exception as error:
            self.error = error
            self._tell_others(error)
        finally:
            shutil.rmtree(self._local, ignore_errors=True)

    def _hand_over(self) -> None:
        listed = {}
        self._files.create_dir(self._path, recursive=True)
        for file in sorted(path for path in self._local.rglob("*") if path.is_file()):
            name = file.relative_to(self._local).as_posix()
            listed[name] = {"bytes": file.stat().st_size, "xxh3_128": checksum(file)}
            target = f"{self._path}/{name}"
            if isinstance(self._files, pafs.LocalFileSystem):
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
            else:
                with file.open("rb") as source, self._files.open_output_stream(target, compression=None) as sink:
                    shutil.copyfileobj(source, sink, _BLOCK)
        self._write(manifest_name(self._rank), json.dumps({"files": listed}).encode())

    def _tell_others(self, error: Exception) -> None:
        try:
            self._write(failure_name(self._rank), str(error).encode())
        except OSError:
            return

    def _write(self, name: str, data: bytes) -> None:
        with self._files.open_output_stream(f"{self._path}/{name}.tmp", compression=None) as stream:
            stream.write(data)
        self._files.move(f"{self._path}/{name}.tmp", f"{self._path}/{name}")


def wait_for_parts(files: pafs.FileSystem, path: str, world: int, timeout_seconds: float) -> None:
    """Until the manifests of all workers are there.

    Raises:
        OSError: a worker could not write its part, or did not within the time.
    """
    wanted = {manifest_name(rank) for rank in range(world)}
    failures = {failure_name(rank) for rank in range(world)}
    began, pause = time.monotonic(), 0.02
    while True:
        there = {info.base_name for info in files.get_file_info(pafs.FileSelector(path, allow_not_found=True))}
        if wanted <= there:
            return
        if failed := sorted(failures & there):
            with files.open_input_stream(f"{path}/{failed[0]}") as stream:
                raise OSError(f"{failed[0].removesuffix('.failed')}: {stream.read().decode()}")
        if time.monotonic() - began > timeout_seconds:
            missing = ", ".join(sorted(wanted - there))
            raise OSError(f"{path}: {missing} did not come within {timeout_seconds:.0f} s")
        time.sleep(pause)
        pause = min(1.0, 1.5 * pause)
