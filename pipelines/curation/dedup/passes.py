"""The tasks of a comparison, files to files, without Ray. Each leaves the file that says it is done last.

keys of units --spill--> rows by ranges of keys --bucket--> edges --components--> stars by groups of units
  --gather--> members by components --choose--> losers by groups of units --remove--> a list for each unit
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import storage
from pipelines.curation.dedup import components, exchange, preferences
from pipelines.curation.dedup.buckets import KEY, NODE, REST, Bucketed, beginnings, exact_edges, near_edges
from pipelines.curation.dedup.choosing import LOSERS_SCHEMA, choose, clustered_schema
from pipelines.curation.dedup.comparison import KINDS, NEW, Comparison, earlier_nodes, nodes_of
from pipelines.curation.dedup.components import shard_of
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.index import IDS_SCHEMA, unique
from pipelines.curation.dedup.minhash import NO_KEY, SKETCHED
from pipelines.curation.dedup.signing import Signed, signed
from pipelines.curation.dedup.sorting import distinct, sort_rows
from pipelines.curation.documents import REMOVALS_SCHEMA
from pipelines.curation.tables import TableWriter

MEMBERS_A_TASK = 1_000_000
"""So many documents of clusters are chosen from in one task: 0.8 GB."""


def spill(number: int, c: Comparison) -> None:
    """A group of units: their keys as rows, cut by ranges of keys."""
    first, last = c.groups[number]
    documents = sum(c.counts[first:last])
    rows = {kind: np.empty((documents * c.keys(kind), c.width(kind)), np.uint64) for kind in KINDS}
    filled = dict.fromkeys(KINDS, 0)
    ids: list[bytes | memoryview] = []
    for unit in range(first, last):
        found = signed(c.place.keys(c.units[unit]), c.settings.near)
        for kind in KINDS:
            for part in _keyed(kind, found, nodes_of(unit, found.positions), c):
                rows[kind][filled[kind] : filled[kind] + len(part)] = part
                filled[kind] += len(part)
        if c.settings.keep_index:
            names = preferences.ids(c.place, c.units[unit], found.positions)
            table = pa.table({"position": found.positions.astype(np.uint32), "id": names}, schema=IDS_SCHEMA)
            ids.append(exchange.serialized(table))
    if c.settings.keep_index:
        exchange.write(c.index.ids(number), ids)
    for kind in reversed(KINDS):
        if slices := c.slices(kind):
            every = rows.pop(kind)[: filled[kind]]
            exchange.write_rows(c.file(f"rows-{kind}", number), every, exchange.by_range(every[:, KEY], slices), slices)
    storage.write_json(c.file("spilled", number), {})


def _keyed(kind: str, found: Signed, nodes: NDArray[np.uint64], c: Comparison) -> Iterator[Rows]:
    """Rows of a unit's documents, one key of each at a time."""
    if kind == "exact" and c.settings.exact:
        yield np.stack([found.keys[:, 0], nodes, found.keys[:, 1]], axis=1)
    if kind == "near":
        sketches = found.sketches[:, : c.width(kind) - REST]
        for keys in found.bands.T:
            has = keys != NO_KEY
            yield np.concatenate([keys[has, None], nodes[has, None], sketches[has]], axis=1)


def bucket(kind: str, number: int, c: Comparison) -> None:
    """A range of keys: edges between documents that share one, and this range of the index."""
    files = [c.file(f"rows-{kind}", group) for group in range(len(c.groups))]
    rows = exchange.read_rows(files, number, c.width(kind))
    sort_rows(rows)
    if c.settings.keep_index:
        exchange.write(c.index.keys(kind, number), [unique(rows).astype("<u8", copy=False).data])
    _add_earlier(kind, number, c, rows)
    found: Bucketed
    if kind == "exact":
        found = exact_edges(rows)
    else:
        assert c.settings.near is not None
        found = near_edges(rows, c.settings.near.verify, sketched(c))
    edges = components.forest(found.edges)
    exchange.write(c.file(f"edges-{kind}", number), [edges.astype("<u8", copy=False).data])
    figures = {"edges": len(edges), "buckets": found.buckets, "largest": found.largest}
    storage.write_json(c.file(f"bucketed-{kind}", number), figures)


def _add_earlier(kind: str, number: int, c: Comparison, rows: Rows) -> None:
    """Add to sorted rows those of earlier corpora with their keys."""
    own = len(rows)
    for corpus, index in enumerate(c.earlier):
        for old in index.rows(kind, number, c.slices(kind), rows[:own]):
            old[:, NODE] = earlier_nodes(corpus, old[:, NODE])
            exchange.extend(rows, old)


def sketched(c: Comparison) -> int:
    """How many minima sketches hold."""
    if c.settings.near is None:
        return 0
    bands, rows, _ = c.settings.near.shape
    return min(bands * rows, SKETCHED)


def edge_files(c: Comparison) -> list[str]:
    """Where `bucket` left the edges."""
    return [c.file(f"edges-{kind}", number) for kind in KINDS for number in range(c.slices(kind))]


def connect(c: Comparison) -> None:
    """All edges in one task: the components."""
    _write_stars(c, components.forest(exchange.read_rows(edge_files(c), 0, 2)), 0)


def first_turn(number: int, shards: int, c: Comparison) -> None:
    """Some of the edges, both ways, to the shards of their nodes."""
    edges = exchange.read_rows(edge_files(c)[number::shards], 0, 2)
    count = len(edges)
    both = _both_ways(edges)
    del edges
    _to_shards(both, shards, c.file("turn", number, 0))
    storage.write_json(c.file("turned", number, 0), {"mark": 0, "edges": count})


def turn(number: int, shards: int, count: int, c: Comparison) -> None:
    """Odd turns are large-star, even ones small-star, each on one shard of nodes."""
    rows = exchange.read_rows([c.file("turn", shard, count - 1) for shard in range(shards)], number, 2)
    if count % 2:
        found = components.large_star(rows)
        out = found.edges
    else:
        found = components.small_star(rows)
        out = _both_ways(found.edges)
    figures = {"mark": found.mark, "edges": len(found.edges)}
    del rows, found
    _to_shards(out, shards, c.file("turn", number, count))
    storage.write_json(c.file("turned", number, count), figures)


def _both_ways(edges: Rows) -> Rows:
    return np.concatenate([edges, edges[:, ::-1]])


def _to_shards(rows: Rows, shards: int, location: str) -> None:
    exchange.write_rows(location, rows, shard_of(rows[:, 0], shards), shards)


def last_turn(number: int, shards: int, count: int, c: Comparison) -> None:
    """The edges of the turn that changed nothing are the stars."""
    rows = exchange.read_rows([c.file("turn", shard, count) for shard in range(shards)], number, 2)
    rows = rows[rows[:, 0] > rows[:, 1]]
    _write_stars(c, rows, number)


def _write_stars(c: Comparison, stars: Rows, number: int) -> None:
    """Stars by the groups of their nodes; a center comes too, as often as it has rays (`gather` takes it once)."""
    centers = distinct(np.sort(stars[:, 1])[:, None])
    rows = np.empty((len(stars) + len(centers), 2), np.uint64)
    rows[: len(stars)], rows[len(stars) :] = stars, centers
    del stars, centers
    exchange.write_rows(c.file("stars", number), rows, c.group_of(rows[:, 0]), len(c.begins))


def gather(number: int, stars: int, shards: int, c: Comparison) -> None:
    """A group's documents that are in a component, with what the choice needs, by the component's shard.

    The groups after this corpus's are those of earlier ones.
    """
    labels = exchange.read_rows([c.file("stars", star) for star in range(stars)], number, 2)
    sort_rows(labels)
    labels = distinct(labels)
    schema = clustered_schema(c.settings.prefer)
    units = labels[:, 0] >> np.uint64(32)
    tables = [schema.empty_table()]
    for begin, end in pairwise(np.flatnonzero(np.append(beginnings(units), True)).tolist()):
        tables.append(_members(c, labels[begin:end], schema))
    members = pa.concat_tables(tables)
    target = shard_of(members["root"].to_numpy(), shards)
    exchange.write_table(c.file("members", number), members, target, shards)


def _members(c: Comparison, labels: Rows, schema: pa.Schema) -> pa.Table:
    """Rows of `clustered_schema`; labels are (node, root) of one unit's documents."""
    positions = labels[:, 0] & np.uint64(0xFFFFFFFF)
    new = bool(labels[0, 0] >= NEW)
    columns: dict[str, pa.Array] = {
        **{field.name: pa.nulls(len(labels), field.type) for field in schema},
        "root": pa.array(labels[:, 1]),
        "node": pa.array(labels[:, 0]),
        "earlier": pa.repeat(not new, len(labels)),
    }
    number = int(labels[0, 0] & ~NEW) >> 32
    if not new:
        corpus, number = number >> 23, number & ((1 << 23) - 1)
        columns["id"] = c.earlier[corpus].ids_at(number, positions)
        return pa.table(columns, schema=schema)
    unit = c.units[number]
    found = signed(c.place.keys(unit), c.settings.near)
    at = np.searchsorted(found.positions, positions)
    columns |= {"id": preferences.ids(c.place, unit, positions), "key": _binary(found.keys[at])}
    if found.sketches.shape[1]:
        columns["sketch"] = _binary(found.sketches[at])
    orders = preferences.orders(c.place, unit, positions, found.lengths[at], c.settings.prefer)
    columns |= {f"p{place}": pa.array(order) for place, order in enumerate(orders.T)}
    return pa.table(columns, schema=schema)


def _binary(rows: Rows) -> pa.FixedSizeBinaryArray:
    data = np.ascontiguousarray(rows, "<u8")
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(8 * data.shape[1]), len(data), [None, pa.py_buffer(data)])


def decide(number: int, c: Comparison) -> None:
    """A shard of components: who goes, by groups of units."""
    schema = clustered_schema(c.settings.prefer)
    members = exchange.read_tables([c.file("members", group) for group in range(len(c.begins))], number, schema)
    chosen = choose(members, c.settings.prefer, sketched(c), c.settings.near is not None)
    groups = c.group_of(chosen.losers["node"].to_numpy())
    exchange.write_table(c.file("losers", number), chosen.losers, groups, len(c.groups))
    storage.write_json(c.file("chosen", number), chosen.figures)


def remove(number: int, shards: int, c: Comparison) -> None:
    """A group of units: the list of each that loses documents."""
    losers = exchange.read_tables([c.file("losers", shard) for shard in range(shards)], number, LOSERS_SCHEMA)
    losers = losers.sort_by("node")
    nodes = losers["node"].to_numpy() & ~NEW
    units = (nodes >> np.uint64(32)).astype(np.int64)
    threshold = c.settings.near.verify if c.settings.near is not None else None
    for unit in np.unique(units).tolist():
        rows = pa.array(np.flatnonzero(units == unit))
        table = losers.take(rows)
        near = pa.array(
            [threshold if score is not None else None for score in table["score"].to_pylist()], pa.float64()
        )
        columns = {
            "position": pa.array((nodes[rows.to_numpy()] & np.uint64(0xFFFFFFFF)).astype(np.int64)),
            "stage": table["stage"],
            "reason": table["reason"],
            "score": table["score"],
            "threshold": near,
            "detail": table["kept"],
        }
        with TableWriter(c.place.removals("dedup", c.key, c.units[unit]), REMOVALS_SCHEMA) as writer:
            writer.write(pa.table(columns, schema=REMOVALS_SCHEMA).combine_chunks().to_batches()[0])
    storage.write_json(c.file("removed", number), {"documents": losers.num_rows})
