"""A worker's part of a checkpoint on its way to storage, while training goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pyarrow.fs as pafs

from models.training.pieces import Piece, seal, write_pieces
from models.training.storage import patiently, write_whole


def part_name(rank: int) -> str:
    """Of the file that holds what a worker wrote."""
    return f"rank-{rank:05d}.safetensors"


def manifest_name(rank: int) -> str:
    """Of the file that lists what a worker wrote."""
    return f"rank-{rank:05d}.json"


def failure_name(rank: int) -> str:
    """Of the file that says why a worker could not write."""
    return f"rank-{rank:05d}.failed"


class Upload:
    """Writes pieces to storage in a thread: each byte once, with its checksum; the list comes last.

    What storage refuses is tried again. What goes wrong for good is written beside it, where it can be, and kept in
    `error`.

    Args:
        pieces: on the CPU; not changed until the end.
        files: where storage is.
        path: the checkpoint's directory there.
        rank: whose part it is.
        then: called in the thread when the part is there, to finish the checkpoint.
    """

    def __init__(
        self, pieces: Sequence[Piece], files: pafs.FileSystem, path: str, rank: int, then: Callable[[], None] | None
    ) -> None:
        self._pieces, self._files, self._path, self._rank, self._then = pieces, files, path, rank, then
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
            patiently(self._hand_over)
            if self._then is not None:
                self._then()
        except Exception as error:  # a thread's errors are told to those who wait
            self.error = error
            self._tell_others(error)
        finally:
            self._pieces = ()

    def _hand_over(self) -> None:
        self._files.create_dir(self._path, recursive=True)
        name = part_name(self._rank)
        with self._files.open_output_stream(f"{self._path}/{name}", compression=None) as sink:
            listed = write_pieces(sink, self._pieces, name)
        self._write(manifest_name(self._rank), seal(listed))

    def _tell_others(self, error: Exception) -> None:
        try:
            self._write(failure_name(self._rank), str(error).encode())
        except OSError:
            return

    def _write(self, name: str, data: bytes) -> None:
        write_whole(self._files, f"{self._path}/{name}", data)


def wait_for_parts(files: pafs.FileSystem, path: str, world: int, timeout_seconds: float) -> None:
    """Until the manifests of all workers are there.

    Raises:
        OSError: a worker could not write its part, or did not within the time.
    """
    wanted = {manifest_name(rank) for rank in range(world)}
    failures = {failure_name(rank) for rank in range(world)}
    began, pause = time.monotonic(), 0.02
    while True:
        infos = patiently(lambda: files.get_file_info(pafs.FileSelector(path, allow_not_found=True)))
        there = {info.base_name for info in infos}
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
