"""One unit of a corpus into shards: text to tokens, one shard a (split, source), the unit's manifest last."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from pipelines import storage
from pipelines.tokens import corpus
from pipelines.tokens.corpus import Unit
from pipelines.tokens.megatron import Tokens, dtype_for, index_bytes, narrow
from pipelines.tokens.store import BIN_SUFFIX, IDX_SUFFIX, SIDECAR_SUFFIX
from pipelines.tokens.tokenizer import END_OF_TEXT, load, token_bytes

VERSION = 1
_LONGEST_PIECE = 1 << 18
_LENGTH_BINS = 33
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def unit_key(unit: Unit, tokenizer_sha256: str, validation_fraction: float) -> str:
    """Names a unit's work: equal keys give equal bytes."""
    return storage.fingerprint([VERSION, unit.sha256, unit.start, unit.stop, tokenizer_sha256, validation_fraction])


def unit_manifest_location(location: str, unit: Unit) -> str:
    """Where the manifest of a unit is, in the store at `location`."""
    return storage.join(location, "units", f"{unit.ordinal:05d}.json")


def finished(location: str, unit: Unit, key: str) -> dict[str, Any] | None:
    """The manifest of a unit that was done before under this key, else None."""
    path = unit_manifest_location(location, unit)
    if not storage.exists(path):
        return None
    values: dict[str, Any] = storage.read_json(path)
    return values if values.get("key") == key else None


def encode_unit(unit: Unit, location: str, tokenizer_sha256: str, validation_fraction: float) -> dict[str, Any]:
    """Tokenize one unit into the store at `location`; returns the manifest it wrote.

    Raises:
        ValueError: the tokens of a document do not stand for its bytes, or a source's name is no file name.
    """
    # Every task has one core; the library's own threads would only fight over it.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = load(storage.join(location, "tokenizer"), tokenizer_sha256)
    sizes = token_bytes(tokenizer)
    groups: dict[tuple[str, str], _Group] = {}
    token_lengths = np.zeros(_LENGTH_BINS, dtype=np.int64)
    for table in corpus.read(unit):
        texts = table["text"].to_pylist()
        data = [text.encode() for text in texts]
        documents = encode(tokenizer, texts)
        names, languages = table["source"].to_pylist(), table["language"].to_pylist()
        for row, identity in enumerate(table["id"].to_pylist()):
            tokens, size = documents[row], len(data[row])
            stood_for = sizes[tokens]
            if int(stood_for.sum()) != size:
                raise ValueError(f"{unit.file}: {identity}: {int(stood_for.sum())} bytes in tokens, {size} in the text")
            token_lengths += np.bincount(np.minimum(stood_for, _LENGTH_BINS - 1), minlength=_LENGTH_BINS)
            split = corpus.split_of(data[row], validation_fraction)
            group = groups.setdefault((split, names[row]), _Group(dtype_for(len(sizes))))
            group.add(identity, languages[row], tokens, size)
    end = _end_of_text(tokenizer)
    shards = [
        group.write(location, split, source, unit.ordinal, end) for (split, source), group in sorted(groups.items())
    ]
    values = {
        "version": VERSION,
        "key": unit_key(unit, tokenizer_sha256, validation_fraction),
        "unit": unit.ordinal,
        "file": unit.file.rsplit("/", 1)[1],
        "rows": [unit.start, unit.stop],
        "shards": shards,
        "token_lengths": token_lengths.tolist(),
    }
    storage.write_json(unit_manifest_location(location, unit), values)
    return values


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
    """Tokens of each text, without any special token."""
    pieces: list[str] = []
    counts = []
    for text in texts:
        before = len(pieces)
        pieces.extend(split_long(text, _LONGEST_PIECE))
        counts.append(len(pieces) - before)
    encoded = tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
    arrays = [np.array(piece.ids, dtype=np.int32) for piece in encoded]
    documents = []
    at = 0
    for count in counts:
        part = arrays[at : at + count]
        documents.append(part[0] if count == 1 else np.concatenate(part))
        at += count
    return documents


def split_long(text: str, longest: int) -> Iterator[str]:
    """Pieces of at most `longest` characters that make up the text, cut after a line break where there is one.

    The encoder's time and memory grow faster than the text, so books and dumps are encoded in pieces.
    """
    start = 0
    while len(text) - start > longest:
        cut = text.rfind("\n", start + 1, start + longest)
        stop = cut + 1 if cut > 0 else start + longest
        yield text[start:stop]
        start = stop
    yield text[start:]


def _end_of_text(tokenizer: Tokenizer) -> int:
    end = tokenizer.token_to_id(END_OF_TEXT)
    if end is None:
        raise ValueError(f"the tokenizer has no {END_OF_TEXT}")
    return int(end)


class _Group:
    """Documents of one (split, source) on their way into a shard."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.ids: list[str] = []
        self.languages: list[str | None] = []
        self.tokens: list[Tokens] = []
        self.bytes: list[int] = []

    def add(self, identity: str, language: str | None, tokens: npt.NDArray[np.int32], size: int) -> None:
        self.ids.append(identity)
        self.languages.append(language)
        self.tokens.append(narrow(tokens, self.dtype))
        self.bytes.append(size)

    def write(self, location: str, split: str, source: str, ordinal: int, end: int) -> dict[str, Any]:
        """Write `.bin`, `.idx` and sidecar; returns what the manifest says of the shard."""
        if not _SAFE_NAME.match(source):
            raise ValueError(f"source {source!r}: expected letters, digits, '.', '_' and '-', as it names files")
        lengths = np.array([len(tokens) + 1 for tokens in self.tokens], dtype=np.int64)
        stop = narrow(np.array([end]), self.dtype)
        joined = np.concatenate([part for tokens in self.tokens for part in (tokens, stop)])
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        sidecar = pa.table(
            {
                "id": pa.array(self.ids, pa.string()),
                "source": pa.array([source] * len(self.ids), pa.string()),
                "language": pa.array(self.languages, pa.string()),
                "tokens": pa.array(lengths, pa.int64()),
                "bytes": pa.array(self.bytes, pa.int64()),
                "offset": pa.array(offsets, pa.int64()),
            }
        )
        buffer = io.BytesIO()
        pq.write_table(sidecar, buffer, compression="zstd")
        stem = f"{split}/{source}-{ordinal:05d}"
        contents = {
            BIN_SUFFIX: joined.tobytes(),
            IDX_SUFFIX: index_bytes(lengths, self.dtype),
            SIDECAR_SUFFIX: buffer.getvalue(),
        }
        for suffix, content in contents.items():
            storage.write_bytes(storage.join(location, stem + suffix), content)
        return {
            "path": stem + BIN_SUFFIX,
            "split": split,
            "source": source,
            **self._totals(lengths, range(len(self.ids))),
            "sha256": _sha256(contents[BIN_SUFFIX]),
            "index_sha256": _sha256(contents[IDX_SUFFIX]),
            "sidecar_sha256": _sha256(contents[SIDECAR_SUFFIX]),
            "languages": self._by_language(lengths),
        }

    def _by_language(self, lengths: npt.NDArray[np.int64]) -> dict[str, dict[str, int]]:
        rows: dict[str, list[int]] = {}
        for row, language in enumerate(self.languages):
            rows.setdefault(language or "unknown", []).append(row)
        return {language: self._totals(lengths, rows[language]) for language in sorted(rows)}

    def _totals(self, lengths: npt.NDArray[np.int64], rows: Sequence[int]) -> dict[str, int]:
        return {
            "documents": len(rows),
            "tokens": int(lengths[list(rows)].sum()),
            "bytes": sum(self.bytes[row] for row in rows),
        }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
