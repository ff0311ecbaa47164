"""Where a run's files lie: a directory or an object store, with the patience that networks need."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import pyarrow.fs as pafs

_TRIES = 5
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_S3_TRIES = 5

T = TypeVar("T")


class DamagedError(OSError):
    """A checkpoint is not as it was written; the message names the file, what was expected and what is there."""


def open_location(location: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem that holds an absolute path or URI, and the path on it."""
    if location.startswith("s3://"):
        path = location.removeprefix("s3://")
        return _s3(path.partition("/")[0]), path
    if "://" in location:
        return pafs.FileSystem.from_uri(location)
    return pafs.LocalFileSystem(), os.path.abspath(location)


@lru_cache
def _s3(bucket: str) -> pafs.FileSystem:
    """S3, or what `AWS_ENDPOINT_URL` names. Arrow's standard strategy has a hundred retries for a process's life."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options = {"endpoint_override": endpoint} if endpoint else {}
    found, _ = pafs.FileSystem.from_uri(f"s3://{bucket}")
    patience = pafs.AwsDefaultS3RetryStrategy(max_attempts=_S3_TRIES)
    return pafs.S3FileSystem(region=found.region, retry_strategy=patience, **options)


def write_file(location: str, data: bytes) -> None:
    """Write a small file so that a reader sees all of it or none."""
    files, path = open_location(location)
    files.create_dir(os.path.dirname(path), recursive=True)
    write_whole(files, path, data)


def read_file(location: str) -> bytes | None:
    """A small file; None when it is not there."""
    fs, path = open_location(location)

    def read() -> bytes:
        with fs.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read())

    try:
        return patiently(read)
    except FileNotFoundError:
        return None


def remove(location: str) -> None:
    """Delete a directory with all it holds; nothing there is fine."""
    fs, path = open_location(location)
    if fs.get_file_info(path).type == pafs.FileType.Directory:
        fs.delete_dir(path)


def patiently(action: Callable[[], T], tries: int = _TRIES) -> T:
    """Do it again after 1, 2, 4, … seconds, 30 at most, where storage says no; the last error is raised."""
    pause = _PAUSE_SECONDS
    for left in range(tries - 1, -1, -1):
        try:
            return action()
        except (FileNotFoundError, IsADirectoryError, PermissionError, DamagedError):
            raise
        except OSError:
            if not left:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    raise AssertionError("unreachable")


def write_whole(files: pafs.FileSystem, path: str, data: bytes) -> None:
    """Write a small file so that a reader sees all of it or none. Object stores do so by themselves."""
    local = isinstance(files, pafs.LocalFileSystem)
    target = f"{path}.tmp-{threading.get_ident()}" if local else path
    with files.open_output_stream(target, compression=None) as stream:
        stream.write(data)
    if local:
        files.move(target, path)
