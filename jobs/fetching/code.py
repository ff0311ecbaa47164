"""Python code: the standard library of the Python that runs this."""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from pathlib import Path

from jobs.fetching.archives import Archives, Part

_LEFT_OUT = {"test", "tests", "idlelib", "idle_test", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
_MOST_BYTES = 8_000_000


def write(archives: Archives, directory: Path, most_bytes: int = _MOST_BYTES) -> list[Part]:
    """Copy `code/**/*.py`, at most `most_bytes` of them, chosen by the hash of their names."""
    del archives
    library = Path(sysconfig.get_path("stdlib"))
    found = [
        path.relative_to(library)
        for path in library.rglob("*.py")
        if path.is_file() and not _LEFT_OUT.intersection(path.relative_to(library).parts)
    ]
    total = documents = 0
    for relative in sorted(found, key=lambda path: hashlib.sha256(str(path).encode()).digest()):
        data = (library / relative).read_bytes()
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if not data.strip() or total + len(data) > most_bytes:
            continue
        target = directory / "code" / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        total, documents = total + len(data), documents + 1
    version = platform.python_version()
    return [Part("code", "code", "code", f"python {version}", "PSF-2.0", documents, "the running standard library")]
