"""The token store: what `jobs.tokenize` makes and everything else reads.

tokenizer/                   Hugging Face tokenizer files
token_bytes.npy              int32[vocabulary]: UTF-8 bytes each id stands for, 0 for special tokens
{train,validation,test}/<source>.<language>-NNNNN.bin      tokens of documents, each followed by <|endoftext|>
                                                 .idx      Megatron index
                                                 .parquet  id, source, language, tokens, bytes, offset of each document
manifest.json                written last: counts, checksums, what it was made from

The documents of one (split, source, language) are a *group*. They stand in an order of their own, by a hash of their
ids, so that neighbours come from all over the corpus.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.tokens import cache
from pipelines.tokens.megatron import Index, Shard, Tokens, shard_sizes

VERSION = 2
SPLITS = ("train", "validation", "test")
UNKNOWN = "unknown"
"""The language of documents that have none."""
BIN_SUFFIX, IDX_SUFFIX, SIDECAR_SUFFIX = SUFFIXES = (".bin", ".idx", ".parquet")
_CHECKSUMS = {BIN_SUFFIX: "sha256", IDX_SUFFIX: "index_sha256", SIDECAR_SUFFIX: "sidecar_sha256"}
_SAFE_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_PIECE = 8 << 20


class StoreError(ValueError):
    """A store that is not as its manifest says; the message names the file and what was expected."""


class Group(NamedTuple):
    """The documents of one source and language in one split. Tokens include the end tokens."""

    source: str
    language: str
    documents: int
    tokens: int
    bytes: int


def stem(split: str, source: str, language: str, number: int) -> str:
    """The path of a shard's files in a store, without suffix. Odd characters of a language are `=XX`, in hex.

    Raises:
        ValueError: a source whose name is no file name.
    """
    if not _SAFE_SOURCE.match(source):
        raise ValueError(f"source {source!r}: expected letters, digits, '.', '_' and '-', as it names files")
    safe = re.sub(rb"[^A-Za-z0-9_-]", lambda match: b"=%02X" % match[0][0], language.encode()).decode()
    return f"{split}/{source}.{safe}-{number:05d}"


def files_in(location: str, *folders: str) -> dict[str, int]:
    """Sizes of the files in folders of a store, by folder/name: one request a folder, however many files."""
    return {
        f"{folder}/{info.location.rsplit('/', 1)[1]}": info.size
        for folder in folders
        for info in storage.listing(storage.join(location, folder))
    }


class TokenStore:
    """A finished token store, read through memory maps. Picklable: a copy opens the files again.

    Opening it compares the tokenizer's hash and the sizes of all files with the manifest, and reads none of them.
    A store on a remote filesystem is read through a copy of its files below the machine's temporary directory,
    made when a file is first needed.

    Args:
        location: the store's directory, a path or URI.

    Raises:
        FileNotFoundError: there is no manifest, so no finished store.
        StoreError: of another version, or a file is missing, cut off, or not the one that the store was made with.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        path = storage.join(location, "manifest.json")
        if not storage.exists(path):
            raise FileNotFoundError(f"{path}: no finished token store here; jobs.tokenize makes one")
        self.manifest: dict[str, Any] = storage.read_json(path)
        if self.manifest.get("version") != VERSION:
            raise StoreError(f"{path}: version {self.manifest.get('version')}, expected {VERSION}; {_AGAIN}")
        self.fingerprint = storage.fingerprint(self.manifest)
        self._check()

    @property
    def vocabulary_size(self) -> int:
        """How many ids the tokenizer has, special tokens included."""
        return int(self.manifest["vocabulary_size"])

    @property
    def tokenizer_directory(self) -> str:
        """A directory of this machine, no other, that `AutoTokenizer.from_pretrained` reads."""
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

    def groups(self, split: str) -> list[Group]:
        """The groups of a split, sorted by source and language."""
        return [
            Group(source, language, int(entry["documents"]), int(entry["tokens"]), int(entry["bytes"]))
            for source, of in sorted(self._split(split)["sources"].items())
            for language, entry in sorted(of["languages"].items())
        ]

    def tokens(self, split: str, source: str | None = None) -> int:
        """How many tokens a split, or one source of it, has."""
        entry = self._split(split)
        return int(entry["tokens"] if source is None else self._source(split, source)["tokens"])

    def stream(self, split: str, source: str, language: str) -> Stream:
        """One group's documents as one long array of tokens."""
        return Stream([self._shard(file) for file in self._files(split, source, language)])

    def indexes(self, split: str, source: str, language: str) -> list[Index]:
        """Where the documents of one group lie, shard by shard. Of a remote store only the `.idx` files are copied."""
        return [Index(self._file(file, IDX_SUFFIX)) for file in self._files(split, source, language)]

    def documents(self, split: str, source: str | None = None) -> Iterator[tuple[str, str, Tokens]]:
        """All documents of a split in the store's order: (document id, source, tokens with the end token).

        The tokens are read-only views of the mapped files.
        """
        for name in [source] if source is not None else self.split(split):
            for language in sorted(self._source(split, name)["languages"]):
                for identity, tokens in self.group_documents(split, name, language):
                    yield identity, name, tokens

    def group_documents(self, split: str, source: str, language: str) -> Iterator[tuple[str, Tokens]]:
        """The documents of one group in the store's order: (document id, tokens with the end token)."""
        for file in self._files(split, source, language):
            path = _sibling(file, SIDECAR_SUFFIX)
            identities = pq.read_table(self._file(file, SIDECAR_SUFFIX), columns=["id"])["id"].to_pylist()
            shard = self._shard(file)
            if len(identities) != len(shard):
                raise StoreError(f"{path}: {len(identities)} documents, expected the index's {len(shard)}")
            for position, identity in enumerate(identities):
                yield identity, shard.document(position)

    def verify(self) -> None:
        """Read every shard and compare its checksums with the manifest's: about a second for a gigabyte on one core.

        Raises:
            StoreError: a file is not what was written.
        """
        for file in self._all_files():
            for suffix, key in _CHECKSUMS.items():
                path = storage.join(self.location, _sibling(file, suffix))
                if (found := _sha256(path)) != file[key]:
                    raise StoreError(f"{path}: damaged: its SHA-256 is {found}, expected {file[key]}; {_AGAIN}")

    def _check(self) -> None:
        path = storage.join(self.location, "tokenizer", "tokenizer.json")
        if not storage.exists(path):
            raise StoreError(f"{path}: missing, expected the tokenizer that the store was made with; {_AGAIN}")
        if (found := _sha256(path)) != self.manifest["tokenizer"]:
            raise StoreError(
                f"{path}: the tokenizer was changed after tokenizing: its SHA-256 is {found}, expected "
                f"{self.manifest['tokenizer']}; {_AGAIN}"
            )
        there = files_in(self.location, *SPLITS)
        for file in self._all_files():
            bin_size, idx_size = shard_sizes(file["documents"], file["tokens"], self.manifest["dtype"])
            for suffix, size in ((BIN_SUFFIX, bin_size), (IDX_SUFFIX, idx_size), (SIDECAR_SUFFIX, None)):
                name = _sibling(file, suffix)
                path = storage.join(self.location, name)
                if name not in there:
                    raise StoreError(f"{path}: missing, expected a shard of {file['documents']} documents; {_AGAIN}")
                if size is not None and there[name] != size:
                    raise StoreError(f"{path}: {there[name]} bytes, expected {size}; {_AGAIN}")

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

    def _files(self, split: str, source: str, language: str) -> list[dict[str, Any]]:
        languages = self._source(split, source)["languages"]
        if language not in languages:
            known = ", ".join(sorted(languages))
            raise ValueError(f"{self.location}: no language {language!r} of {source!r} in {split}; there are {known}")
        return list(languages[language]["files"])

    def _all_files(self) -> Iterator[dict[str, Any]]:
        for split in self.manifest["splits"]:
            for group in self.groups(split):
                yield from self._files(split, group.source, group.language)

    def _shard(self, file: dict[str, Any]) -> Shard:
        return Shard(self._file(file, BIN_SUFFIX), self._file(file, IDX_SUFFIX))

    def _file(self, file: dict[str, Any], suffix: str) -> str:
        return self._local(_sibling(file, suffix), file[_CHECKSUMS[suffix]])

    @property
    def cache(self) -> str:
        """This machine's directory for what belongs to the store."""
        return cache.directory(self.fingerprint)

    def _local(self, relative: str, sha256: str | None = None) -> str:
        """A local path of a file of the store; remote ones are copied here once, and checked."""
        location = storage.join(self.location, relative)
        if "://" not in location:
            return location
        if location.startswith("file:"):
            return storage.filesystem(location)[1]
        copy = os.path.join(self.cache, relative)
        cache.copy_once(location, copy, sha256)
        return copy

    def __reduce__(self) -> tuple[type[TokenStore], tuple[str]]:
        return TokenStore, (self.location,)


class Stream:
    """Shards read as one array of tokens.

    Attributes:
        shards: in order.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = list(shards)
        self._bounds = np.cumsum([0, *(len(shard.tokens) for shard in self.shards)])
        self._first_documents = np.cumsum([0, *(len(shard) for shard in self.shards)])

    def __len__(self) -> int:
        return int(self._bounds[-1])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64[D]: tokens of each document, over all shards, the end token included. Made when asked for."""
        return np.concatenate([np.zeros(0, np.int64), *(shard.lengths for shard in self.shards)])

    def document(self, i: int) -> Tokens:
        """The tokens of document i, counted over all shards: a view of the mapped file."""
        if not 0 <= i < self._first_documents[-1]:
            raise IndexError(f"document {i} of {self._first_documents[-1]}")
        position = int(np.searchsorted(self._first_documents, i, side="right")) - 1
        return self.shards[position].document(i - int(self._first_documents[position]))

    def window(self, start: int, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Tokens start … start + length - 1 as int64, and for each the number of its document within the window."""
        stop = start + length
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens {start} to {stop} of a stream of {len(self)}")
        tokens = np.empty(length, dtype=np.int64)
        new_document = np.zeros(length, dtype=np.int32)
        first = int(np.searchsorted(self._bounds, start, side="right")) - 1
        for position in range(first, len(self.shards)):
            base = int(self._bounds[position])
            if base >= stop:
                break
            shard = self.shards[position]
            low, high = max(start - base, 0), min(stop - base, len(shard.tokens))
            at = base + low - start
            tokens[at : at + high - low] = shard.tokens[low:high]
            new_document[shard.starts_between(low, high) + base - start] = 1
            if at and low == 0 and high > 0:
                new_document[at] = 1
        return tokens, np.cumsum(new_document, dtype=np.int32)


_AGAIN = "jobs.tokenize with --force makes it again"


def _sibling(file: dict[str, Any], suffix: str) -> str:
    return str(file["path"]).removesuffix(BIN_SUFFIX) + suffix


def _sha256(location: str) -> str:
    digest = hashlib.sha256()
    fs, path = storage.filesystem(location)
    with fs.open_input_stream(path, compression=None) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
