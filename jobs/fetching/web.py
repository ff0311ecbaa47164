"""Real web pages with their URLs (the `formasaurus` source archive), written as WARC files."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import BinaryIO

from jobs.fetching.archives import Archives, Part

_DATA = "formasaurus/data/"
# The package was released that month; the pages carry no date of their own.
_DATE = "2024-12-01T00:00:00Z"


def write(archives: Archives, directory: Path, shards: int = 4) -> list[Part]:
    """Write `web/web-0000N.warc.gz`: a warcinfo record, then one response record a page, a gzip member each."""
    pages: dict[str, bytes] = {}
    index: dict[str, dict[str, str]] = {}
    for name, data in archives.source_files("formasaurus"):
        if name == f"{_DATA}index.json":
            index = json.loads(data)
        elif name.startswith(f"{_DATA}html/"):
            pages[name.removeprefix(_DATA)] = data
    known = sorted(name for name in pages if name in index)
    folder = directory / "web"
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        name = f"web-{shard:05d}.warc.gz"
        with (folder / name).open("wb") as file:
            _record(
                file, "warcinfo", None, "application/warc-fields", b"software: groundwork\r\nformat: WARC 1.1\r\n", name
            )
            for page in known[shard::shards]:
                _response(file, index[page]["url"], pages[page])
    note = f"{len({index[page]['url'].split('/')[2] for page in known})} hosts; the pages belong to their authors"
    return [Part("web", "web", "warc", "formasaurus", "package MIT; pages third-party", len(known), note)]


def _response(file: BinaryIO, url: str, body: bytes) -> None:
    try:
        body.decode("utf-8")
        kind = "text/html; charset=utf-8"
    except UnicodeDecodeError:
        kind = "text/html"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode("ascii")
    _record(file, "response", url, "application/http; msgtype=response", head + body, url)


def _record(file: BinaryIO, kind: str, url: str | None, content: str, block: bytes, identity: str) -> None:
    fields = [
        "WARC/1.1",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{kind} {identity}')}>",
        f"WARC-Date: {_DATE}",
        *([f"WARC-Target-URI: {url}"] if url else []),
        f"Content-Type: {content}",
        f"Content-Length: {len(block)}",
    ]
    data = "\r\n".join(fields).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"
    file.write(gzip.compress(data, compresslevel=6, mtime=0))
