"""What of the checkout travels with a job: no runs, no environments, no tests, and nothing that looks like a secret."""

from __future__ import annotations

import fnmatch
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

EXCLUDES = (
    "/runs/",
    "/tests/",
    "/.venv/",
    "/.venv-extras/",
    "/.git/",
    "/build/",
    "__pycache__/",
    ".*_cache/",
    ".hypothesis/",
    "*.egg-info/",
    "*.pyc",
)
"""What of the checkout a job does not get (.gitignore's syntax)."""

SECRETS = (
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.kdbx",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".env",
    ".env.*",
    ".netrc",
    ".pgpass",
    ".git-credentials",
    "auth_token",
    "credentials",
    "credentials.json",
    "service-account*.json",
    "service_account*.json",
)
"""Names of files that hold secrets as a rule; such files stay here, and the submission says so."""

MOST_BYTES = 100 * 2**20
"""The dashboard refuses a larger upload, whatever the client allows."""

_KEY_HEADER = b"PRIVATE KEY-----"
_LARGEST_KEY = 20_000


class PackageError(Exception):
    """The checkout cannot travel; the message says what to do."""


def sent(checkout: Path) -> list[Path]:
    """The files that Ray would send: the checkout's without `EXCLUDES`."""
    top = {pattern.strip("/") for pattern in EXCLUDES if pattern.startswith("/")}
    anywhere = [pattern.strip("/") for pattern in EXCLUDES if not pattern.startswith("/")]
    found = []
    for folder, folders, files in os.walk(checkout):
        at_top = Path(folder) == checkout
        folders[:] = [
            name
            for name in folders
            if not (at_top and name in top) and not any(fnmatch.fnmatch(name, pattern) for pattern in anywhere)
        ]
        found += [
            Path(folder, name)
            for name in files
            if not any(fnmatch.fnmatch(name, pattern) for pattern in anywhere) and not Path(folder, name).is_symlink()
        ]
    return found


def secrets_among(files: Sequence[Path]) -> list[Path]:
    """Those that look like secrets: by their names, or because they begin as private keys do."""
    return sorted(path for path in files if _is_secret(path))


def check_size(checkout: Path, files: Sequence[Path]) -> None:
    """Raise PackageError, with the largest files, where a cluster would refuse so much."""
    sizes = {path: path.stat().st_size for path in files}
    total = sum(sizes.values())
    if total > MOST_BYTES:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:5]
        listing = ", ".join(f"{path.relative_to(checkout)} ({sizes[path] / 2**20:.0f} MiB)" for path in largest)
        raise PackageError(
            f"{checkout}: {total / 2**20:.0f} MiB to send, and a cluster takes {MOST_BYTES / 2**20:.0f}; "
            f"move large files to runs/; the largest: {listing}"
        )


def revision(checkout: Path) -> str | None:
    """The commit that travels, with `-modified` where files differ from it; None where Git does not know."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(checkout), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return f"{commit}-modified" if git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def recipe_word(recipe: str, checkout: Path, local: bool) -> str:
    """A recipe's path as the driver will see it; a URI stays as it is.

    Args:
        recipe: its URI, or its path from here.
        checkout: what travels.
        local: the head runs on this machine.

    Raises:
        PackageError: a remote cluster would not see it.
    """
    if "://" in recipe:
        return recipe
    path = Path(recipe).resolve()
    if local:
        return str(path)
    if path.is_relative_to(checkout):
        relative = path.relative_to(checkout)
        if relative.parts[0] not in ("runs", "tests") and not relative.parts[0].startswith("."):
            return str(relative)
    raise PackageError(
        f"{path}: a remote cluster gets {checkout} without runs/ and tests/; put the recipe into jobs/recipes/ or a "
        "bucket"
    )


def _is_secret(path: Path) -> bool:
    if any(fnmatch.fnmatch(path.name, pattern) for pattern in SECRETS):
        return True
    try:
        if path.stat().st_size > _LARGEST_KEY:
            return False
        with path.open("rb") as file:
            first = file.readline(200)
    except OSError:
        return False
    return first.startswith(b"-----BEGIN ") and _KEY_HEADER in first
