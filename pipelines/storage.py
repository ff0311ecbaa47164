"""Where files are: locations in recipes, and small atomic files on any filesystem pyarrow opens.

A location is an absolute path, a URI (`file:`, `s3:`, `gs:`), or a path relative to the *home*: the directory
or URI that `GROUNDWORK_HOME` names, else the current directory. Inside a Ray job the current directory is an unpacked
copy of the submitted code that Ray deletes, so a relative location there is an error unless the home is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pyarrow.fs as pafs
from pydantic import AfterValidator

HOME_VARIABLE = "GROUNDWORK_HOME"
_RAY_PACKAGE_MARK = "_ray_pkg_"
S3_TRIES = 10
READ_TRIES = 6
READ_WAIT_SECONDS = 0.25
"""Doubled after each try."""


def resolve(location: str) -> str:
    """The absolute form of a location.

    Raises:
        ValueError: a relative path where only a vanishing directory could hold it.
    """
    if "://" in location or os.path.isabs(location):
        return location
    home = os.environ.get(HOME_VARIABLE)
    if home is None:
        home = os.getcwd()
        if _RAY_PACKAGE_MARK in home:
            raise ValueError(
                f"{location!r} is relative to a Ray job's unpacked package, which Ray deletes; "
                f"give an absolute path or URI, or set {HOME_VARIABLE} where the cluster is started"
            )
    scheme, separator, path = home.partition("://")
    if separator:
        return f"{scheme}://{posixpath.normpath(posixpath.join(path, location))}"
    return os.path.normpath(os.path.join(home, location))


def below_home(location: str) -> str:
    """A location as a person at the home would write it: relative where it lies below the home."""
    home = os.environ.get(HOME_VARIABLE) or os.getcwd()
    return location.removeprefix(home.rstrip("/") + "/")


Location = Annotated[str, AfterValidator(resolve)]
"""A recipe's path or URI; relative ones are resolved when the recipe is read."""


def filesystem(location: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem that holds a location, and the location's path on it."""
    if location.startswith("s3://"):
        bucket, _, _ = location.removeprefix("s3://").partition("/")
        return _s3(bucket), location.removeprefix("s3://")
    if "://" in location:
        return pafs.FileSystem.from_uri(location)
    return pafs.LocalFileSystem(), resolve(location)


@lru_cache
def _s3(bucket: str) -> pafs.FileSystem:
    """S3, or what `AWS_ENDPOINT_URL` names, with more patience than by default.

    Arrow's standard strategy has a budget of a hundred retries that nothing refills: a process that has met so many
    failures would try nothing again.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options = {"endpoint_override": endpoint} if endpoint else {}
    found, _ = pafs.FileSystem.from_uri(f"s3://{bucket}")
    return pafs.S3FileSystem(
        region=found.region, retry_strategy=pafs.AwsDefaultS3RetryStrategy(max_attempts=S3_TRIES), **options
    )


def join(location: str, *parts: str) -> str:
    """A location below another one."""
    return "/".join([location.rstrip("/"), *parts])


def beside(location: str, name: str) -> str:
    """What a file's text names, seen from the file's own directory; an absolute path or a URI stays as it is.

    Args:
        location: of the file; a relative path is one from the current directory, and so is what is found.
        name: in its text.
    """
    if "://" in name or os.path.isabs(name):
        return name
    scheme, separator, path = location.rpartition("://")
    found = posixpath.join(posixpath.dirname(path), name)
    # An object store has no directories that `..` could go up.
    return f"{scheme}{separator}{posixpath.normpath(found)}" if separator else found


def exists(location: str) -> bool:
    """Whether a file or directory is there."""
    fs, path = filesystem(location)
    return bool(fs.get_file_info(path).type != pafs.FileType.NotFound)


def read_bytes(location: str) -> bytes:
    """A whole file. Raises FileNotFoundError with the location in the message.

    On a network other errors are tried again `READ_TRIES` times: S3's client does not repeat an answer that was cut.
    """
    fs, path = filesystem(location)
    tries = 1 if isinstance(fs, pafs.LocalFileSystem) else READ_TRIES
    for number in range(tries):
        try:
            with fs.open_input_stream(path, compression=None) as stream:
                return bytes(stream.read())
        except OSError as error:
            final = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
            if final or number == tries - 1:
                raise named(error, location) from None
            time.sleep(READ_WAIT_SECONDS * 2**number)
    raise AssertionError("unreachable")


def write_bytes(location: str, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none: a temporary name, then a rename."""
    write_parts(location, [data])


def write_parts(location: str, parts: Iterable[bytes | memoryview]) -> None:
    """The same of bytes that come in pieces."""
    fs, path = filesystem(location)
    parent = os.path.dirname(path)
    fs.create_dir(parent, recursive=True)
    temporary = os.path.join(parent, f".tmp-{os.getpid()}-{os.path.basename(path)}")
    try:
        with fs.open_output_stream(temporary, compression=None) as stream:
            for part in parts:
                stream.write(part)
        fs.move(temporary, path)
    except BaseException as error:  # raised again; no half file stays
        with suppress(OSError):
            fs.delete_file(temporary)
        if isinstance(error, OSError):
            raise named(error, location) from None
        raise


def named(error: OSError, location: str) -> OSError:
    """The error with the location in its message; of a failed write or read Arrow does not say of what."""
    if resolve(location) in str(error):
        return error
    if error.errno is None:
        return OSError(f"{location}: {error}")
    return OSError(error.errno, f"{location}: {error.strerror}")


def read_json(location: str) -> Any:
    """A JSON file. Raises ValueError naming the file when it is not JSON."""
    try:
        return json.loads(read_bytes(location))
    except json.JSONDecodeError as error:
        raise ValueError(f"{location}: not JSON ({error})") from error


def write_json(location: str, value: Any) -> None:
    """Write a JSON file atomically."""
    write_bytes(location, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False).encode() + b"\n")


def remove(location: str) -> None:
    """Delete a file or a directory with all it holds; nothing there is fine."""
    fs, path = filesystem(location)
    kind = fs.get_file_info(path).type
    if kind == pafs.FileType.Directory:
        fs.delete_dir(path)
    elif kind != pafs.FileType.NotFound:
        fs.delete_file(path)


def clear(directory: str, keep: Collection[str] = ()) -> None:
    """Delete what a directory holds, but not what has one of the names to keep; nothing there is fine."""
    fs, path = filesystem(directory)
    for info in fs.get_file_info(pafs.FileSelector(path, allow_not_found=True)):
        if info.base_name not in keep:
            remove(join(directory, info.base_name))


class FileInfo(NamedTuple):
    """A file that is there."""

    location: str
    size: int
    changed: int
    """Nanoseconds since 1970 of its last change, 0 where the filesystem does not tell."""


def expand(pattern: str) -> list[str]:
    """Locations of the files that a pattern names, as `listing` finds them."""
    return [info.location for info in listing(pattern)]


def listing(pattern: str) -> list[FileInfo]:
    """Files a location names: the file itself, all files below a directory, or a glob's matches, sorted.

    Globs (`*`, `?`, `**`) work below any filesystem. Hidden files are left out. An empty list means no match.
    """
    fs, path = filesystem(pattern)
    prefix = pattern[: len(pattern) - len(path)] if "://" in pattern else ""
    base, wild = _root(path)
    if not wild:
        info = fs.get_file_info(path)
        if info.type == pafs.FileType.File:
            return [FileInfo(prefix + path, info.size, info.mtime_ns or 0)]
    accept = _glob(path) if wild else None
    selector = pafs.FileSelector(base, recursive=True, allow_not_found=True)
    found = []
    for info in fs.get_file_info(selector):
        hidden = any(part.startswith(".") for part in info.path[len(base) :].split("/") if part)
        if info.type == pafs.FileType.File and not hidden and (accept is None or accept(info.path)):
            found.append(FileInfo(prefix + info.path, info.size, info.mtime_ns or 0))
    return sorted(found)


def root(pattern: str) -> str:
    """The part of a location before its first wildcard; for a file, the directory it is in."""
    fs, path = filesystem(pattern)
    prefix = pattern[: len(pattern) - len(path)] if "://" in pattern else ""
    base, wild = _root(path)
    if not wild and fs.get_file_info(path).type == pafs.FileType.File:
        base = os.path.dirname(path)
    return prefix + base


def _root(path: str) -> tuple[str, bool]:
    parts = path.split("/")
    wild = next((i for i, part in enumerate(parts) if any(c in part for c in "*?[")), None)
    return (path.rstrip("/"), False) if wild is None else ("/".join(parts[:wild]) or "/", True)


def _glob(pattern: str) -> Any:
    import re

    out, i = "", 0
    while i < len(pattern):
        if pattern.startswith("**/", i):
            out, i = out + "(?:.*/)?", i + 3
        elif pattern.startswith("**", i):
            out, i = out + ".*", i + 2
        elif pattern[i] == "*":
            out, i = out + "[^/]*", i + 1
        elif pattern[i] == "?":
            out, i = out + "[^/]", i + 1
        elif pattern[i] == "[" and "]" in pattern[i + 1 :]:
            end = pattern.index("]", i + 1)
            out, i = out + pattern[i : end + 1].replace("[!", "[^"), end + 1
        else:
            out, i = out + re.escape(pattern[i]), i + 1
    return re.compile(out + r"\Z").match


def fingerprint(value: Any) -> str:
    """16 hex digits that name a JSON-able value: SHA-256 of its canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_fingerprint(location: str) -> str:
    """16 hex digits of a file's bytes (SHA-256): for manifests and models, not for raw data."""
    return hashlib.sha256(read_bytes(location)).hexdigest()[:16]


def checkout() -> Path:
    """The directory that holds groundwork's own packages and recipes."""
    return Path(__file__).resolve().parent.parent
