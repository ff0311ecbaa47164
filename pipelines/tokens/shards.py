"""Runs into shards: each shard is one range of the order hash of one group, merged out of all runs and sorted.

The order of a group's documents is that of their hashes, so it neither follows the corpus's nor depends on units.
No task holds more than its shards; the cost is one range read for each shard and unit that meet.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.reading import StoredFile
from pipelines.tokens import encode, runs
from pipelines.tokens.megatron import index_bytes
from pipelines.tokens.runs import Documents
from pipelines.tokens.store import BIN_SUFFIX, IDX_SUFFIX, SIDECAR_SUFFIX, SUFFIXES, stem

MANIFESTS = "units/shards"
"""Where the manifests of shards are in a store that is being made."""


@dataclass(frozen=True)
class Piece:
    """A range of bytes of a run, which holds whole blocks."""

    unit: int
    offset: int
    length: int


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be made.

    Attributes:
        split, source, language: its group.
        number, of: its place among the group's shards.
        key: names its content; equal keys give equal bytes.
        bytes: about how much text it will hold.
        pieces: where its documents are.
    """

    split: str
    source: str
    language: str
    number: int
    of: int
    key: str
    bytes: int
    pieces: tuple[Piece, ...]

    @property
    def stem(self) -> str:
        """The path of its files in the store, without suffix."""
        return stem(self.split, self.source, self.language, self.number)

    @property
    def hashes(self) -> tuple[int, int]:
        """The range [low, high) of order hashes."""
        return hash_range(self.number, self.of)


def hash_range(number: int, of: int) -> tuple[int, int]:
    """Range `number` [low, high) of the `of` equal ranges of 64-bit hashes."""
    return -(-(number << 64) // of), -(-((number + 1) << 64) // of)


def plan(units: Sequence[dict[str, Any]], dtype: str, shard_bytes: int) -> list[ShardPlan]:
    """All shards of a store, by group.

    Args:
        units: the manifests of all units.
        dtype: of the tokens.
        shard_bytes: size of a `.bin` that is aimed at.
    """
    groups: dict[tuple[str, str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for unit in units:
        for group in unit["groups"]:
            groups.setdefault((group["split"], group["source"], group["language"]), []).append((unit, group))
    return [shard for name, members in sorted(groups.items()) for shard in _of_group(name, members, dtype, shard_bytes)]


def _of_group(
    name: tuple[str, str, str], members: Sequence[tuple[dict[str, Any], dict[str, Any]]], dtype: str, shard_bytes: int
) -> Iterator[ShardPlan]:
    size = sum(group["tokens"] for _, group in members) * np.dtype(dtype).itemsize
    of = max(1, -(-size // shard_bytes))
    content = storage.fingerprint([encode.VERSION, *name, sorted(unit["key"] for unit, _ in members)])
    text = sum(group["bytes"] for _, group in members)
    for number in range(of):
        low, high = hash_range(number, of)
        pieces = tuple(Piece(unit["unit"], *runs.covering(group["bounds"], low, high)) for unit, group in members)
        yield ShardPlan(*name, number, of, storage.fingerprint([content, number, of]), text // of, pieces)


def bundles(shards: Sequence[ShardPlan], most: int) -> list[list[ShardPlan]]:
    """Shards for one task each, in order: a large one alone, small ones up to `most` bytes of text together."""
    found: list[list[ShardPlan]] = []
    size = 0
    for shard in shards:
        if not found or size + shard.bytes > most:
            found.append([])
            size = 0
        found[-1].append(shard)
        size += shard.bytes
    return found


def manifest_name(shard: ShardPlan) -> str:
    """The path of a shard's manifest in the store, while that is being made."""
    return f"{MANIFESTS}/{shard.stem}.json"


def finished(location: str, shard: ShardPlan, there: Mapping[str, int]) -> dict[str, Any] | None:
    """The manifest of a shard that was written before under this key, else None.

    Args:
        there: the files in the store, those in the splits' folders and their manifests.
    """
    if manifest_name(shard) not in there:
        return None
    values: dict[str, Any] = storage.read_json(storage.join(location, manifest_name(shard)))
    if values.get("key") != shard.key:
        return None
    suffixes = SUFFIXES if values["file"]["documents"] else ()
    return values if all(shard.stem + suffix in there for suffix in suffixes) else None


def write_shard(shard: ShardPlan, location: str, dtype: str) -> dict[str, Any]:
    """Write `.bin`, `.idx` and sidecar of a shard of the store at `location`; returns the manifest it wrote.

    A range of hashes that no document falls into (there are few, large ones) has no files.
    """
    # A manifest of former settings must not come to stand beside these files.
    manifest_location = storage.join(location, manifest_name(shard))
    storage.remove(manifest_location)
    kind = np.dtype(dtype).newbyteorder("<")
    found = runs.joined([part for piece in shard.pieces for part in _read(piece, shard, location, kind)], kind)
    documents = found.take(_order(found))
    sidecar = pa.table(
        {
            "id": documents.ids.cast(pa.string()),
            "source": pa.array([shard.source] * len(documents.lengths), pa.string()),
            "language": pa.array([shard.language] * len(documents.lengths), pa.string()),
            "tokens": documents.lengths,
            "bytes": documents.bytes,
            "offset": np.cumsum(documents.lengths) - documents.lengths,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(sidecar, buffer, compression="zstd")
    contents: dict[str, bytes | memoryview] = {
        BIN_SUFFIX: documents.tokens.data,
        IDX_SUFFIX: index_bytes(documents.lengths, dtype),
        SIDECAR_SUFFIX: buffer.getvalue(),
    }
    for suffix, content in contents.items() if len(documents.lengths) else ():
        storage.write_parts(storage.join(location, shard.stem + suffix), [content])
    digests = {suffix: hashlib.sha256(content).hexdigest() for suffix, content in contents.items()}
    values = {
        "key": shard.key,
        "split": shard.split,
        "source": shard.source,
        "language": shard.language,
        "file": {
            "path": shard.stem + BIN_SUFFIX,
            **encode.totals(documents),
            "sha256": digests[BIN_SUFFIX],
            "index_sha256": digests[IDX_SUFFIX],
            "sidecar_sha256": digests[SIDECAR_SUFFIX],
        },
    }
    storage.write_json(manifest_location, values)
    return values


def _read(piece: Piece, shard: ShardPlan, location: str, kind: np.dtype[Any]) -> Iterator[Documents]:
    """The piece's documents whose hashes are in the shard's range."""
    run = storage.join(location, encode.run_name(piece.unit))
    with StoredFile(run, window=0) as file:
        data = file.at(piece.offset, piece.length)
    if len(data) != piece.length:
        raise OSError(f"{run}: {len(data)} bytes at {piece.offset} instead of {piece.length}")
    low, high = shard.hashes
    for block in runs.parse(data, kind):
        first, last = (
            len(block.hashes) if bound == 1 << 64 else int(np.searchsorted(block.hashes, np.uint64(bound)))
            for bound in (low, high)
        )
        if (first, last) == (0, len(block.hashes)):
            yield block
        elif first < last:
            yield block.take(np.arange(first, last))


def _order(documents: Documents) -> npt.NDArray[np.int64]:
    """By hash; the few documents that share one by id, then by content."""
    order = np.argsort(documents.hashes, kind="stable")
    hashes = documents.hashes[order]
    equal = np.flatnonzero(hashes[1:] == hashes[:-1])
    if len(equal):
        starts = np.cumsum(documents.lengths) - documents.lengths
        for first in np.unique(np.searchsorted(hashes, hashes[equal])):
            last = int(np.searchsorted(hashes, hashes[first], side="right"))
            order[first:last] = sorted(
                order[first:last],
                key=lambda row: (
                    documents.ids[int(row)].as_py(),
                    documents.tokens[starts[row] : starts[row] + documents.lengths[row]].tobytes(),
                ),
            )
    return order
