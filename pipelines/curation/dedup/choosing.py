"""Which document of a component stays: the first by the recipe's preferences, ties by the smallest id.

A component with a document of an earlier corpus loses all its new ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipelines.curation.dedup.buckets import beginnings
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.minhash import SKETCH_WORDS, similarity
from pipelines.curation.dedup.preferences import hashes
from pipelines.curation.dedup.settings import Preference

EXACT_STAGE, NEAR_STAGE = "exact_dedup", "near_dedup"
SHOWN = 12
"""So many of the largest clusters, and of pairs, are kept for the report."""


def clustered_schema(prefer: tuple[Preference, ...]) -> pa.Schema:
    """Rows of documents that are in a component; `p0`, `p1` … are what is preferred by: see `preferences.orders`."""
    return pa.schema(
        [
            ("root", pa.uint64()),
            ("node", pa.uint64()),
            ("earlier", pa.bool_()),
            ("id", pa.string()),
            ("key", pa.binary(16)),
            ("sketch", pa.binary(8 * SKETCH_WORDS)),
            *((f"p{number}", pa.uint64()) for number in range(len(prefer))),
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
    values = [(f"p{number}", "ascending") for number in range(len(prefer))]
    keys = [("root", "ascending"), ("earlier", "descending"), *values, ("id", "ascending")]
    order = pc.sort_indices(members, sort_keys=keys)
    ordered = members.select(["root", "node", "earlier", "id", "key", "sketch"]).take(order).combine_chunks()
    roots = ordered["root"].to_numpy()
    begins = np.flatnonzero(beginnings(roots))
    sizes = np.diff(begins, append=len(roots))
    first = np.repeat(begins, sizes)
    lost = np.flatnonzero((first != np.arange(len(roots))) & ~ordered["earlier"].to_numpy(zero_copy_only=False))
    loser, winner = ordered.take(pa.array(lost)), ordered.take(pa.array(first[lost]))
    same = pc.fill_null(pc.equal(loser["key"], winner["key"]), False).combine_chunks()
    score: pa.Array = pa.nulls(len(lost), pa.float64())
    if sketched and len(lost):
        known = pc.and_(loser["sketch"].is_valid(), winner["sketch"].is_valid())
        alike = similarity(_numbers(loser["sketch"]), _numbers(winner["sketch"]), sketched)
        score = pc.if_else(pc.and_not(known, same), alike, None)
    exact = same if near else pa.repeat(True, len(lost))
    by_key = pc.if_else(exact, "duplicate_of", "near_duplicate_of")
    losers = pa.table(
        {
            "node": loser["node"],
            "stage": pc.if_else(exact, EXACT_STAGE, NEAR_STAGE),
            "reason": pc.if_else(winner["earlier"], "in_earlier_corpus", by_key),
            "score": score,
            "kept": winner["id"],
        },
        schema=LOSERS_SCHEMA,
    )
    clusters = pa.table({"documents": sizes, "kept": ordered["id"].take(pa.array(begins))})
    pairs = losers.select(["stage", "kept", "score", "node"])
    pairs = pairs.append_column("removed", loser["id"]).append_column("kept_node", winner["node"])
    return Chosen(losers, figures_of(clusters, pairs))


def _numbers(sketches: pa.ChunkedArray) -> Rows:
    """uint64 [n, 4]; of null anything."""
    held = sketches.combine_chunks()
    _, data = held.buffers()
    return np.frombuffer(data, "<u8").reshape(-1, SKETCH_WORDS)[held.offset : held.offset + len(held)]


def figures_of(clusters: pa.Table, pairs: pa.Table) -> dict[str, Any]:
    """Sizes of clusters (by powers of two), the largest, and pairs drawn by the hash of an id, of each stage.

    A pair has its documents' `nodes`, which `examples.with_texts` turns into texts.

    Args:
        clusters: how many `documents`, the id of the one `kept`.
        pairs: `stage`, ids `removed` and `kept`, `score`, `node` and `kept_node`.
    """
    counts = np.bincount(np.frexp(clusters["documents"].to_numpy())[1] - 1)
    largest = pc.select_k_unstable(clusters, SHOWN, [("documents", "descending"), ("kept", "ascending")])
    drawn = []
    for stage in (EXACT_STAGE, NEAR_STAGE):
        rows = np.flatnonzero(pc.equal(pairs["stage"], stage).to_numpy())
        of_stage = pairs.take(pa.array(rows))
        hashed = pa.table({"hash": hashes(of_stage["removed"]), "removed": of_stage["removed"]})
        first = pc.select_k_unstable(hashed, SHOWN, [("hash", "ascending"), ("removed", "ascending")])
        drawn += of_stage.take(first).to_pylist()
    return {
        "clusters": clusters.num_rows,
        "sizes": {str(1 << power): count for power, count in enumerate(counts.tolist()) if count},
        "largest": clusters.take(largest).to_pylist(),
        "pairs": [
            {
                "stage": pair["stage"],
                "removed": pair["removed"],
                "kept": pair["kept"],
                "score": pair["score"],
                "nodes": [pair["node"], pair["kept_node"]],
            }
            for pair in drawn
        ],
    }


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
