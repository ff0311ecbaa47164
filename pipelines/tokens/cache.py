"""Files of a remote store copied to this machine once, however many processes ask for them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from contextlib import suppress

from pipelines.reading import StoredFile

_PIECE = 8 << 20


def directory(fingerprint: str) -> str:
    """Where this machine keeps what belongs to a store: copies of its files, and plans made of it."""
    return os.path.join(tempfile.gettempdir(), f"groundwork-{os.getuid()}", "tokens", fingerprint)


def copy_once(location: str, target: str, sha256: str | None) -> None:
    """Copy a file unless it is there. The first process copies, others wait; nobody sees half a file.

    Args:
        location: what is copied.
        target: a local path.
        sha256: what the copy must have; None: it is not known.

    Raises:
        ValueError: the copy is another file than was written.
    """
    if os.path.exists(target):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(target):
            return
        temporary = f"{target}.tmp-{os.getpid()}"
        try:
            found = copy(location, temporary)
            if sha256 is not None and found != sha256:
                raise ValueError(f"{location}: damaged: its SHA-256 is {found}, expected {sha256}")
            os.replace(temporary, target)
        finally:
            with suppress(FileNotFoundError):
                os.remove(temporary)


def copy(location: str, target: str) -> str:
    """Copy a file to a local path, with patience where it is on a network; answers with its SHA-256.

    Raises:
        OSError: it is not there, or storage failed again and again.
    """
    digest = hashlib.sha256()
    with StoredFile(location) as stream, open(target, "wb") as out:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()
