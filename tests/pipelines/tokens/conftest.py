"""A small corpus in the curation contract's form, and a store made of it without Ray."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import storage
from pipelines.tokens import TokenizerSettings, TokensSettings, TokenStore, build

Row = tuple[str, str, str, str]
"""id, source, language, text."""
MakeCorpus = Callable[[Path, Sequence[Sequence[Row]]], str]

WORDS = [
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "was",
    "he",
    "for",
    "it",
    "with",
    "as",
    "his",
    "on",
    "be",
    "at",
    "by",
    "had",
    "not",
    "are",
    "but",
    "from",
    "or",
    "have",
    "an",
    "they",
]


def prose(number: int, words: int) -> str:
    """Text of so many words that differs with the number."""
    return " ".join(WORDS[(number * 7 + i * i) % len(WORDS)] + str(i % 3) for i in range(words)) + f" end {number}."


def _make(directory: Path, files: Sequence[Sequence[Row]]) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    entries, sources = [], {}
    for number, rows in enumerate(files):
        columns = {
            "id": [row[0] for row in rows],
            "text": pa.array([row[3] for row in rows], pa.large_string()),
            "url": [""] * len(rows),
            "source": [row[1] for row in rows],
            "license": ["CC0-1.0"] * len(rows),
            "language": pa.array([row[2] for row in rows], pa.string()),
        }
        path = directory / f"part-{number:05d}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=50)
        size = sum(len(row[3].encode()) for row in rows)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append({"path": path.name, "rows": len(rows), "bytes": size, "sha256": digest})
        for row in rows:
            entry = sources.setdefault(row[1], {"documents": 0, "bytes": 0})
            entry["documents"] += 1
            entry["bytes"] += len(row[3].encode())
    totals = {key: sum(source[key] for source in sources.values()) for key in ("documents", "bytes")}
    manifest = {"version": 1, "settings": "0", **totals, "sources": sources, "files": entries, "inputs": []}
    storage.write_json(str(directory / "manifest.json"), manifest)
    return str(directory)


@pytest.fixture(scope="session")
def make_corpus() -> MakeCorpus:
    return _make


@pytest.fixture(scope="session")
def documents() -> list[list[Row]]:
    """Three files, three sources of unequal size, two languages; one file holds two sources, one text is long."""
    web = [(f"web/0-{i}", "web", "en", prose(i, 20 + i % 60)) for i in range(240)]
    wiki = [(f"wiki/0-{i}", "wiki", "fr", "Voilà l'été : " + prose(1000 + i, 30)) for i in range(120)]
    code = [(f"code/0-{i}", "code", "en", f"def f{i}(a):\n    return a * {i}\n" * (1 + i % 5)) for i in range(60)]
    code[7] = ("code/0-7", "code", "en", "x = 1\n" * 90_000)
    return [web[:160], web[160:] + wiki, code]


@pytest.fixture(scope="session")
def corpus_location(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: MakeCorpus, documents: list[list[Row]]
) -> str:
    return make_corpus(tmp_path_factory.mktemp("corpus"), documents)


@pytest.fixture(scope="session")
def settings() -> TokensSettings:
    return TokensSettings(
        tokenizer=TokenizerSettings(vocabulary_size=320, sample_bytes=60_000),
        validation_fraction=0.1,
        unit_bytes=20_000,
        shard_bytes=10_000,
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, corpus_location: str, settings: TokensSettings) -> TokenStore:
    location = str(tmp_path_factory.mktemp("store"))
    build(corpus_location, location, settings)
    return TokenStore(location)
