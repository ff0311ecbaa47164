"""What of the checkout travels with a job: no runs, no environments, no tests, and nothing that looks like a secret."""

from __future__ import annotations

import fnmatch
import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Sent:
    """What of a checkout travels, and what stays though nobody excluded it (paths relative to the checkout).

    `files` are named as Ray sends them, so a link's name stands for what it leads to. `secrets` look like secrets;
    `links` lead to what does not travel itself, or in circles. With `excludes` Ray sends `files` and no other.
    """

    files: tuple[Path, ...]
    secrets: tuple[str, ...]
    links: tuple[str, ...]
    excludes: tuple[str, ...]


def sent(checkout: Path) -> Sent:
    """What Ray would send of a checkout, by Ray's own rules, less secrets and links that lead astray.

    Ray follows every link. Here one is followed where what it leads to travels under its own name, too; a link to a
    folder is not where that holds the link, or where the link was itself reached through one (no circle is endless).

    Args:
        checkout: the folder that becomes the working directory.

    Raises:
        PackageError: a folder or an ignore file of the checkout cannot be read.
    """
    checkout = checkout.absolute()
    base = _real(checkout)
    own = [path for path in _visited(checkout, Path.is_symlink)[0] if path.is_file() and not _is_secret(path)]
    kept = {base / path.relative_to(checkout) for path in own}
    kept |= {folder for path in kept for folder in path.parents if folder.is_relative_to(base)}

    def stays(path: Path) -> bool:
        real, unlinked = _real(path), base / path.relative_to(checkout)
        if real == unlinked:
            return not path.is_dir() and real not in kept
        if real not in kept or (path.is_file() and _is_secret(path)):
            return True
        folder = _real(path.parent)
        return path.is_symlink() and path.is_dir() and (folder != unlinked.parent or folder.is_relative_to(real))

    visited, left = _visited(checkout, stays)
    secrets = {path for path in left if _is_secret(path) or _is_secret(_real(path))}
    linked = {path for path in left if path.is_symlink() or _real(path) != base / path.relative_to(checkout)} - secrets

    def names(paths: Iterable[Path]) -> tuple[str, ...]:
        return tuple(sorted(str(path.relative_to(checkout)) for path in paths))

    return Sent(
        tuple(sorted(path for path in visited if path.is_file())),
        names(path for path in secrets if left[path]),
        names(path for path in linked if left[path]),
        (*EXCLUDES, *(f"/{_escaped(name)}" for name in names(left))),
    )


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


def recipe_word(recipe: str, checkout: Path, files: Iterable[Path] | None) -> str:
    """A recipe's path as the driver will see it; a URI stays as it is.

    Args:
        recipe: its URI, or its path from here; a chain's may be a directory.
        checkout: what travels.
        files: of it that do (`Sent`); None: the head runs on this machine, and sees them all.

    Raises:
        PackageError: the cluster would not see it.
    """
    if "://" in recipe:
        return recipe
    path, base = _real(Path(recipe)), _real(checkout)
    if files is None:
        return str(path)
    if path.is_relative_to(base):
        relative = path.relative_to(base)
        own = checkout.absolute() / relative
        if any(file == own or own in file.parents for file in files):
            return str(relative)
    raise PackageError(
        f"{path}: the cluster gets {checkout} without runs/, tests/ and what .gitignore names; put the recipe into "
        "jobs/recipes/ or a bucket"
    )


def _visited(checkout: Path, stays: Callable[[Path], bool]) -> tuple[list[Path], dict[Path, bool]]:
    """The paths at which Ray's packaging arrives when it passes over those that `stays`.

    Returns:
        The paths, and those passed over: whether Ray would have sent anything of them.

    Raises:
        PackageError: a folder or an ignore file cannot be read.
    """
    from ray._private import ray_constants
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    def ours(path: Path) -> bool:
        if path == checkout or not stays(path):
            return False
        # Ray adds the rules of the folders that it is in to this list, and takes them away again.
        others = [rule for rule in rules if rule is not ours]
        if any(rule(path) for rule in others):
            return False
        # To Ray `runs/` excludes all that is in `runs`, and not `runs`; no file has this name.
        left[path] = not (os.path.isdir(path) and any(rule(path / "\0") for rule in others))
        return True

    rules: list[Callable[[Path], bool]] = [
        _get_excludes(checkout, [*ray_constants.get_runtime_env_default_excludes(), *EXCLUDES]),
        ours,
    ]
    visited: list[Path] = []
    left: dict[Path, bool] = {}
    gitignore = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    try:
        _dir_travel(checkout, rules, visited.append, include_gitignore=gitignore, logger=logging.getLogger(__name__))
    except OSError as error:
        raise PackageError(f"{checkout}: it cannot be sent, as part of it cannot be read: {error}") from None
    return visited, left


def _real(path: Path) -> Path:
    # Path.resolve raises where links form a circle.
    return Path(os.path.realpath(path))


def _escaped(path: str) -> str:
    """A path as .gitignore's syntax takes it for itself alone."""
    # White space at the end would be taken away, though escaped.
    return re.sub(r"\s", r"[\g<0>]", re.sub(r"([\\*?\[\]!#])", r"\\\1", path))


def _is_secret(path: Path) -> bool:
    if any(fnmatch.fnmatch(path.name, pattern) for pattern in SECRETS):
        return True
    try:
        # A pipe would be waited for.
        if not path.is_file() or path.stat().st_size > _LARGEST_KEY:
            return False
        with path.open("rb") as file:
            first = file.readline(200)
    except OSError:
        return False
    return first.startswith(b"-----BEGIN ") and _KEY_HEADER in first
