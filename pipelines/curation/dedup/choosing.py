"""Which document of a component stays: the first by the recipe's preferences, ties by the smallest id.

A component with a document of an earlier corpus loses all its new ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipelines.curation.dedup.minhash import SKETCH_WORDS, similarity
from pipelines.curation.dedup.settings import Preference

EXACT_STAGE, NEAR_STAGE = "exact_dedup", "near_dedup"
SHOWN = 12
"""So many of the largest clusters, and of pairs, are kept for the report."""


def clustered_schema(prefer: tuple[Preference, ...]) -> pa.Schema:
    """Rows of documents that are in a component; `p0`, `p1` … are what is preferred by."""
    values = [pa.field(f"p{i}", pa.string() if one.by == "date" else pa.float64()) for i, one in enumerate(prefer)]
    return pa.schema(
        [
            ("root", pa.uint64()),
            ("node", pa.uint64()),
            ("earlier", pa.bool_()),
            ("id", pa.string()),
            ("key", pa.binary(16)),
            ("sketch", pa.binary(8 * SKETCH_WORDS)),
            *values,
        ]
    )


LOSERS_SCHEMA = pa.schema(
    [
        ("node", pa.uint64()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("kept", pa.string()),
    ]
)


class Chosen(NamedTuple):
    """What a shard of components comes to."""

    losers: pa.Table
    """Rows of `LOSERS_SCHEMA`."""
    figures: dict[str, Any]
    """Numbers and examples for the report; see `merged`."""


def choose(members: pa.Table, prefer: tuple[Preference, ...], sketched: int, near: bool) -> Chosen:
    """Who goes.

    Args:
        members: rows of `clustered_schema`, all documents of each component.
        prefer: see `DuplicateSettings.prefer`.
        sketched: how many minima sketches hold; 0: there are none.
        near: whether near duplicates are looked for.
    """
    ways = [(f"p{i}", "descending" if one.first == "high" else "ascending") for i, one in enumerate(prefer)]
    ways = [("root", "ascending"), ("earlier", "descending"), *ways, ("id", "ascending")]
    keys = [(name, way, "at_end") for name, way in ways]
    ordered = members.take(pc.sort_indices(members, sort_keys=keys)).combine_chunks()
    if not ordered.num_rows:
        return Chosen(LOSERS_SCHEMA.empty_table(), figures_of([], []))
    roots = ordered["root"].to_numpy()
    begins = np.flatnonzero(np.concatenate([[True], roots[1:] != roots[:-1]]))
    sizes = np.diff(begins, append=len(roots))
    first = np.repeat(begins, sizes)
    lost = np.flatnonzero((first != np.arange(len(roots))) & ~ordered["earlier"].to_numpy(zero_copy_only=False))
    loser, winner = ordered.take(pa.array(lost)), ordered.take(pa.array(first[lost]))
    same = pc.fill_null(pc.equal(loser["key"], winner["key"]), False).to_numpy(zero_copy_only=False)
    score: pa.Array = pa.nulls(len(lost), pa.float64())
    if sketched and len(lost):
        known = pc.and_(loser["sketch"].is_valid(), winner["sketch"].is_valid()).to_numpy(zero_copy_only=False)
        alike = similarity(_numbers(loser["sketch"]), _numbers(winner["sketch"]), sketched)
        score = pa.array(alike, mask=~known | same)
    from_before = winner["earlier"].to_numpy(zero_copy_only=False)
    stage = np.where(same | (not near), EXACT_STAGE, NEAR_STAGE)
    reason = np.where(
        from_before, "in_earlier_corpus", np.where(stage == EXACT_STAGE, "duplicate_of", "near_duplicate_of")
    )
    losers = pa.table(
        {
            "node": loser["node"],
            "stage": pa.array(stage.tolist(), pa.string()),
            "reason": pa.array(reason.tolist(), pa.string()),
            "score": score,
            "kept": winner["id"],
        },
        schema=LOSERS_SCHEMA,
    )
    clusters = [
        {"documents": size, "kept": name}
        for size, name in zip(sizes.tolist(), ordered["id"].take(pa.array(begins)).to_pylist(), strict=True)
    ]
    pairs = [
        {"stage": s, "removed": one, "kept": two, "score": value, "nodes": nodes}
        for s, one, two, value, *nodes in zip(
            *(stage.tolist(), loser["id"].to_pylist(), winner["id"].to_pylist(), score.to_pylist()),
            *(loser["node"].to_pylist(), winner["node"].to_pylist()),
            strict=True,
        )
    ]
    return Chosen(losers, figures_of(clusters, pairs))


def _numbers(sketches: pa.ChunkedArray) -> np.ndarray:
    empty = b"\0" * (8 * SKETCH_WORDS)
    data = b"".join(value if value is not None else empty for value in sketches.to_pylist())
    return np.frombuffer(data, "<u8").reshape(-1, SKETCH_WORDS)


def figures_of(clusters: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Sizes of clusters (by powers of two), the largest, and pairs drawn by the hash of an id, of each stage.

    A pair has its documents' `nodes`, which `examples.with_texts` turns into texts.
    """
    sizes: dict[str, int] = {}
    for cluster in clusters:
        name = str(1 << (cluster["documents"].bit_length() - 1))
        sizes[name] = sizes.get(name, 0) + 1
    return {"clusters": len(clusters), "sizes": sizes, "largest": _largest(clusters), "pairs": _drawn(pairs)}


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of all shards as one: how components were shared out does not show."""
    sizes: dict[str, int] = {}
    for part in parts:
        for name, count in part["sizes"].items():
            sizes[name] = sizes.get(name, 0) + count
    return {
        "clusters": sum(part["clusters"] for part in parts),
        "sizes": dict(sorted(sizes.items(), key=lambda item: int(item[0]))),
        "largest": _largest([cluster for part in parts for cluster in part["largest"]]),
        "pairs": _drawn([pair for part in parts for pair in part["pairs"]]),
    }


def _largest(clusters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(clusters, key=lambda cluster: (-cluster["documents"], cluster["kept"]))[:SHOWN]


def _drawn(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ordered = sorted(pairs, key=lambda pair: (xxhash.xxh3_64_intdigest(pair["removed"].encode()), pair["removed"]))
    return [pair for stage in (EXACT_STAGE, NEAR_STAGE) for pair in [p for p in ordered if p["stage"] == stage][:SHOWN]]
