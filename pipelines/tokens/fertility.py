"""Bytes per token of a store's texts beside those of other vocabularies, on the same documents.

"Fertility" is how many tokens a text comes to; we give its inverse, UTF-8 bytes per token, which needs no notion of
a word and so compares languages (Rust et al. 2021 measure it per word).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from pipelines.tokens import tokenizer as tokenizing
from pipelines.tokens.encoder import Library
from pipelines.tokens.store import Group, TokenStore

SAMPLE_BYTES = 100_000
"""Text of each source and language that is measured: its first documents, which stand in random order."""
OURS = "ours"


def fertility(store: TokenStore, compare: Mapping[str, str]) -> dict[str, Any]:
    """Bytes per token by language and by source, on held-out documents where a group has some.

    Args:
        store: the token store; its own tokenizer is called "ours".
        compare: name -> location of another `tokenizer.json`.

    Returns:
        {"languages": {language: {name: bytes per token}}, "sources": the same by source,
        "sample": {"documents": n, "bytes": n, "held_out_bytes": n}}.

    Raises:
        ValueError: a location holds no tokenizer.json.
    """
    others = {name: Library(tokenizing.read(location)) for name, location in compare.items()}
    own = Tokenizer.from_file(f"{store.tokenizer_directory}/tokenizer.json")
    tables: dict[str, dict[str, Counter[str]]] = {"languages": {}, "sources": {}}
    sizes: dict[str, Counter[str]] = {"languages": Counter(), "sources": Counter()}
    sample = {"documents": 0, "bytes": 0, "held_out_bytes": 0}
    for split, group in _groups(store):
        texts, counts = _texts(store, split, group, own)
        size = sum(len(text.encode()) for text in texts)
        tokens = {OURS: counts, **{name: _count(other, texts) for name, other in others.items()}}
        for kind, key in (("languages", group.language), ("sources", group.source)):
            tables[kind].setdefault(key, Counter()).update(tokens)
            sizes[kind][key] += size
        sample["documents"] += len(texts)
        sample["bytes"] += size
        sample["held_out_bytes"] += size if split == "validation" else 0
    ratios = {
        kind: {
            key: {name: round(sizes[kind][key] / row[name], 4) for name in (OURS, *compare) if row[name]}
            for key, row in sorted(table.items())
        }
        for kind, table in tables.items()
    }
    return {**ratios, "sample": sample}


def _groups(store: TokenStore) -> Iterator[tuple[str, Group]]:
    held_out = {(group.source, group.language): group for group in store.groups("validation")}
    trained = {(group.source, group.language): group for group in store.groups("train")}
    for key in sorted(held_out | trained):
        yield ("validation", held_out[key]) if key in held_out else ("train", trained[key])


def _texts(store: TokenStore, split: str, group: Group, own: Tokenizer) -> tuple[list[str], int]:
    """The first texts of a group, and how many tokens they have without the end tokens."""
    texts: list[str] = []
    size = count = 0
    for _, tokens in store.group_documents(split, group.source, group.language):
        texts.append(own.decode(tokens[:-1].tolist(), skip_special_tokens=False))
        size += len(texts[-1].encode())
        count += len(tokens) - 1
        if size >= SAMPLE_BYTES:
            break
    return texts, count


def _count(encoder: Library, texts: list[str]) -> int:
    return int(np.sum(encoder.encode(pa.array(texts, pa.large_string())).lengths))
