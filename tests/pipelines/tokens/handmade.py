"""Token stores made by hand: documents of chosen lengths whose tokens say where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pipelines import storage
from pipelines.tokens import cache, megatron
from pipelines.tokens.tokenizer import SPECIAL_TOKENS

FIRST = 16
"""The first token of the first document; each token is one more than the one before, so all differ but the ends."""

Lengths = Mapping[str, Sequence[Sequence[int]]]
"""source/language -> shards -> tokens of each document, its end included."""


class HandmadeStore:
    """What `Samples` needs of a store. Every document is rising numbers and a 0."""

    def __init__(self, directory: str, lengths: Lengths, dtype: str = "int32") -> None:
        self.location, self._lengths, self._dtype = directory, lengths, dtype
        self.fingerprint = storage.fingerprint([directory, {k: [list(s) for s in v] for k, v in lengths.items()}])
        self.cache = cache.directory(self.fingerprint)
        self.manifest = {"special_tokens": {token: number for number, token in enumerate(SPECIAL_TOKENS)}}
        self.texts: dict[str, list[list[int]]] = {}
        token = FIRST
        for name, shards in sorted(lengths.items()):
            self.texts[name] = []
            for number, shard in enumerate(shards):
                documents = []
                for length in shard:
                    documents.append([*range(token, token + length - 1), 0])
                    token += length - 1
                self.texts[name] += documents
                stem = Path(directory, f"{name.replace('/', '-')}-{number}")
                flat = np.array([t for document in documents for t in document])
                if stem.with_suffix(".idx").exists():  # a pickled copy
                    continue
                stem.with_suffix(".bin").write_bytes(megatron.narrow(flat, dtype).tobytes())
                stem.with_suffix(".idx").write_bytes(megatron.index_bytes(list(shard), dtype))

    def groups(self, split: str) -> list[Any]:
        return [
            SimpleNamespace(source=source, language=language, documents=len(documents), tokens=sum(map(len, documents)))
            for name, documents in sorted(self.texts.items())
            for source, language in [name.split("/")]
        ]

    def stream(self, split: str, source: str, language: str) -> Any:
        stems = [
            Path(self.location, f"{source}-{language}-{number}")
            for number in range(len(self._lengths[f"{source}/{language}"]))
        ]
        shards = [megatron.Shard(f"{stem}.bin", f"{stem}.idx") for stem in stems]
        return SimpleNamespace(shards=shards)

    def indexes(self, split: str, source: str, language: str) -> Any:
        return self.stream(split, source, language).shards

    def __reduce__(self) -> tuple[type[HandmadeStore], tuple[Any, ...]]:
        return HandmadeStore, (self.location, self._lengths, self._dtype)
