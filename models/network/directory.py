"""Model directories on any filesystem pyarrow opens, by way of local ones: the libraries that read them are local."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.fs as pafs

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf")
_COPIES_AT_ONCE = 8


@contextlib.contextmanager
def reading(location: str, weights: bool = True) -> Iterator[Path]:
    """A local directory with the location's files: itself, or a copy for as long as the block runs.

    Processes of this machine that read the same files at the same time share one copy; the last to leave removes it.

    Args:
        location: a path or URI; of a URI where nothing is, the copy is empty.
        weights: False: files of weights may be left out.

    Raises:
        OSError: the files cannot be copied.
    """
    if "://" not in location:
        yield Path(location)
        return
    files, path = pafs.FileSystem.from_uri(location)
    if isinstance(files, pafs.LocalFileSystem):
        yield Path(path)
        return
    path = path.rstrip("/")
    found = sorted(
        (info.path[len(path) + 1 :], info.size, info.mtime_ns)
        for info in files.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
        if info.type == pafs.FileType.File and (weights or not info.path.endswith(_WEIGHTS))
    )
    location = location.rstrip("/")
    key = hashlib.sha256(json.dumps([location, found]).encode()).hexdigest()[:16]
    with _shared_copy(location, [name for name, _, _ in found], key) as copy:
        yield copy


@contextlib.contextmanager
def _shared_copy(location: str, names: Sequence[str], key: str) -> Iterator[Path]:
    """A copy of these files of a location, shared by all who give the same key.

    Readers hold a lock together; who makes or removes the copy holds it alone. A name without `.tmp` is a whole copy.
    """
    home = Path(tempfile.gettempdir(), f"groundwork-{os.getuid()}", "models")
    home.mkdir(parents=True, exist_ok=True)
    copy, parts = home / key, home / f"{key}.tmp"
    with open(home / f"{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        # A lock that changes is given up for a moment, in which another process may make the copy or remove it.
        while not copy.is_dir():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not copy.is_dir():
                shutil.rmtree(parts, ignore_errors=True)
                try:
                    _copy(location, names, parts)
                    parts.rename(copy)
                finally:
                    shutil.rmtree(parts, ignore_errors=True)
            fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            yield copy
        finally:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                copy.rename(parts)
                shutil.rmtree(parts, ignore_errors=True)


def _copy(location: str, names: Sequence[str], to: Path) -> None:
    from pipelines.tokens import cache

    to.mkdir()
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
        list(pool.map(lambda name: cache.copy(f"{location}/{name}", str(to / name)), names))


@contextlib.contextmanager
def writing(location: str) -> Iterator[Path]:
    """An empty local directory that becomes the location when the block ends without an error.

    What was there before is replaced whole; on the local filesystem by a rename.
    """
    files, path = pafs.FileSystem.from_uri(location) if "://" in location else (pafs.LocalFileSystem(), location)
    local = isinstance(files, pafs.LocalFileSystem)
    target = Path(os.path.abspath(path))
    if local:
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=target.parent if local else None))
    try:
        yield temporary
        if local:
            temporary.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
        else:
            if files.get_file_info(path).type != pafs.FileType.NotFound:
                files.delete_dir(path)
            files.create_dir(path, recursive=True)
            pafs.copy_files(
                str(temporary), path, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=files
            )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
