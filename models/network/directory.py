"""Model directories on any filesystem pyarrow opens, by way of local ones: the libraries that read them are local."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs


@contextlib.contextmanager
def reading(location: str) -> Iterator[Path]:
    """A local directory with the location's files: itself, or a copy for as long as the block runs."""
    if "://" not in location:
        yield Path(location)
        return
    files, path = pafs.FileSystem.from_uri(location)
    if isinstance(files, pafs.LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="groundwork-") as temporary:
        pafs.copy_files(path, temporary, source_filesystem=files, destination_filesystem=pafs.LocalFileSystem())
        yield Path(temporary)


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
