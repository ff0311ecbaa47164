"""The token store: what `jobs.tokenize` makes and everything else reads.

tokenizer/                             Hugging Face tokenizer files
token_bytes.npy                        int32[vocabulary]: UTF-8 bytes each id stands for, 0 for special tokens
{train,validation}/<source>-NNNNN.bin  tokens of documents, each followed by <|endoftext|>
                                 .idx  Megatron index
                                 .parquet  id, source, language, tokens, bytes, offset of each document
manifest.json                          written last: counts, checksums, what it was made from
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.tokens.megatron import Shard, Tokens

SPLITS = ("train", "validation")
SIDECAR_SUFFIX, BIN_SUFFIX, IDX_SUFFIX = ".parquet", ".bin", ".idx"


class TokenStore:
    """A finished token store, read through memory maps. Picklable: a copy opens the files again.

    A store on a remote filesystem is read through a copy of its files below the machine's temporary directory,
    made when a file is first needed.

    Args:
        location: the store's directory, a path or URI.

    Raises:
        FileNotFoundError: there is no manifest, so no finished store.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        path = storage.join(location, "manifest.json")
        if not storage.exists(path):
            raise FileNotFoundError(f"{path}: no finished token store here; jobs.tokenize makes one")
        self.manifest: dict[str, Any] = storage.read_json(path)
        self.fingerprint = storage.fingerprint(self.manifest)

    @property
    def vocabulary_size(self) -> int:
        """How many ids the tokenizer has, special tokens included."""
        return int(self.manifest["vocabulary_size"])

    @property
    def tokenizer_directory(self) -> str:
        """A local directory that `AutoTokenizer.from_pretrained` reads."""
        for location in storage.expand(storage.join(self.location, "tokenizer")):
            self._local("tokenizer/" + location.rsplit("/", 1)[1])
        return os.path.dirname(self._local("tokenizer/tokenizer.json"))

    def token_bytes(self) -> npt.NDArray[np.int32]:
        """int32[vocabulary]: UTF-8 bytes each id stands for, 0 for special tokens."""
        data = storage.read_bytes(storage.join(self.location, "token_bytes.npy"))
        return np.asarray(np.load(io.BytesIO(data)), dtype=np.int32)

    def split(self, split: str) -> list[str]:
        """The sources of a split, sorted. Raises ValueError for a split that the store does not have."""
        return sorted(self._split(split)["sources"])

    def tokens(self, split: str, source: str | None = None) -> int:
        """How many tokens a split, or one source of it, has."""
        entry = self._split(split)
        return int(entry["tokens"] if source is None else self._source(split, source)["tokens"])

    def stream(self, split: str, source: str) -> Stream:
        """One source's tokens as one long array."""
        files = [file["path"].removesuffix(BIN_SUFFIX) for file in self._source(split, source)["files"]]
        return Stream([self._shard(stem) for stem in files])

    def documents(self, split: str, source: str | None = None) -> Iterator[tuple[str, str, Tokens]]:
        """All documents of a split in the store's order: (document id, source, tokens with the end token).

        The tokens are read-only views of the mapped files.
        """
        for name in [source] if source is not None else self.split(split):
            for file in self._source(split, name)["files"]:
                stem = file["path"].removesuffix(BIN_SUFFIX)
                sidecar = pq.read_table(self._local(stem + SIDECAR_SUFFIX), columns=["id"])
                shard = self._shard(stem)
                if len(sidecar) != len(shard):
                    raise ValueError(f"{stem}: {len(shard)} documents in the index, {len(sidecar)} in the sidecar")
                for position, identity in enumerate(sidecar["id"].to_pylist()):
                    yield identity, name, shard.document(position)

    def _split(self, split: str) -> dict[str, Any]:
        splits = self.manifest["splits"]
        if split not in splits:
            raise ValueError(f"{self.location}: no split {split!r}; there are {', '.join(splits)}")
        return dict(splits[split])

    def _source(self, split: str, source: str) -> dict[str, Any]:
        sources = self._split(split)["sources"]
        if source not in sources:
            known = ", ".join(sorted(sources)) or "none"
            raise ValueError(f"{self.location}: no source {source!r} in {split}; there are {known}")
        return dict(sources[source])

    def _shard(self, stem: str) -> Shard:
        return Shard(self._local(stem + BIN_SUFFIX), self._local(stem + IDX_SUFFIX))

    def _local(self, relative: str) -> str:
        """A local path of a file of the store; remote ones are copied here once."""
        location = storage.join(self.location, relative)
        if "://" not in location:
            return location
        if location.startswith("file:"):
            return storage.filesystem(location)[1]
        cached = os.path.join(tempfile.gettempdir(), f"groundwork-{os.getuid()}", "tokens", self.fingerprint, relative)
        if not os.path.exists(cached):
            storage.write_bytes(cached, storage.read_bytes(location))
        return cached

    def __reduce__(self) -> tuple[type[TokenStore], tuple[str]]:
        return TokenStore, (self.location,)


class Stream:
    """Shards read as one array of tokens.

    Args:
        shards: in order.
    """

    def __init__(self, shards: list[Shard]) -> None:
        self._shards = shards
        self._bounds = np.cumsum([0, *(len(shard.tokens) for shard in shards)])

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def window(self, start: int, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Tokens start … start + length - 1 as int64, and for each the number of its document within the window."""
        stop = start + length
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens {start} to {stop} of a stream of {len(self)}")
        tokens = np.empty(length, dtype=np.int64)
        new_document = np.zeros(length, dtype=np.int32)
        first = int(np.searchsorted(self._bounds, start, side="right")) - 1
        for position in range(first, len(self._shards)):
            base = int(self._bounds[position])
            if base >= stop:
                break
            shard = self._shards[position]
            low, high = max(start - base, 0), min(stop - base, len(shard.tokens))
            at = base + low - start
            tokens[at : at + high - low] = shard.tokens[low:high]
            new_document[shard.starts_between(low, high) + base - start] = 1
            if at and low == 0 and high > 0:
                new_document[at] = 1
        return tokens, np.cumsum(new_document, dtype=np.int32)
