"""The package versions that every node must have: cluster/requirements.txt."""

from __future__ import annotations

from pathlib import Path

from pipelines import storage


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def pinned(path: Path | None = None) -> dict[str, str]:
    """Normal name -> version, of each `name==version` line of a requirements file (default: the checkout's).

    Raises:
        OSError: there is no such file.
    """
    lines = (path or storage.checkout() / "cluster" / "requirements.txt").read_text().splitlines()
    pairs = [line.split("#")[0].strip().split("==") for line in lines if "==" in line.split("#")[0]]
    return {normal(name): version.strip() for name, version in pairs}
