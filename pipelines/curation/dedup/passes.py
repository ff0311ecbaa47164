"""The tasks of a comparison, files to files, without Ray. Each leaves the file that says it is done last.

keys of units --spill--> rows by ranges of keys --bucket--> edges --components--> stars by groups of units
  --gather--> members by components --choose--> losers by groups of units --remove--> a list for each unit
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines import storage
from pipelines.curation.dedup import components, exchange, preferences
from pipelines.curation.dedup.buckets import KEY, NODE, Bucketed, exact_edges, near_edges
from pipelines.curation.dedup.choosing import LOSERS_SCHEMA, choose, clustered_schema
from pipelines.curation.dedup.comparison import KINDS, NEW, Comparison, earlier_nodes, nodes_of
from pipelines.curation.dedup.components import shard_of
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.index import IDS_SCHEMA, unique
from pipelines.curation.dedup.minhash import NO_KEY, SKETCHED
from pipelines.curation.dedup.signing import signed
from pipelines.curation.documents import REMOVALS_SCHEMA
from pipelines.curation.tables import TableWriter

MEMBERS_A_TASK = 1_000_000


def spill(number: int, c: Comparison) -> None:
    """A group of units: their keys as rows, cut by ranges of keys."""
    first, last = c.groups[number]
    rows: dict[str, list[Rows]] = {kind: [np.zeros((0, c.width(kind)), np.uint64)] for kind in KINDS}
    ids: list[pa.Table] = []
    for unit in range(first, last):
        found = signed(c.place.keys(c.units[unit]), c.settings.near)
        nodes = nodes_of(unit, found.positions)
        rows["exact"].append(np.stack([found.keys[:, 0], nodes, found.keys[:, 1]], axis=1))
        sketches = found.sketches if c.width("near") > 2 else found.sketches[:, :0]
        for band in range(found.bands.shape[1]):
            has = found.bands[:, band] != NO_KEY
            columns = [found.bands[has, band : band + 1], nodes[has, None], sketches[has]]
            rows["near"].append(np.concatenate(columns, axis=1))
        if c.settings.keep_index:
            names = preferences.ids(c.place, c.units[unit], found.positions)
            ids.append(pa.table({"position": found.positions.astype(np.uint32), "id": names}, schema=IDS_SCHEMA))
    if c.settings.keep_index:
        exchange.write_tables(c.index.ids(number), ids)
    for kind in reversed(KINDS):
        if slices := c.slices(kind):
            every = np.concatenate(rows.pop(kind))
            exchange.write_rows(c.file(f"rows-{kind}", number), every, exchange.by_range(every[:, KEY], slices), slices)
    storage.write_json(c.file("spilled", number), {})


def bucket(kind: str, number: int, c: Comparison) -> None:
    """A range of keys: edges between documents that share one, and this range of the index."""
    slices = c.slices(kind)
    files = [c.file(f"rows-{kind}", group) for group in range(len(c.groups))]
    rows = exchange.read_rows(files, number, c.width(kind))
    if c.settings.keep_index:
        exchange.write(c.index.keys(kind, number), [np.ascontiguousarray(unique(rows), "<u8").data])
    for corpus, index in enumerate(c.earlier):
        old = index.rows(kind, number, slices, rows[:, KEY], c.width(kind))
        old[:, NODE] = earlier_nodes(corpus, old[:, NODE])
        rows = np.concatenate([rows, old])
    found: Bucketed
    if kind == "exact":
        found = exact_edges(rows)
    else:
        assert c.settings.near is not None
        found = near_edges(rows, c.settings.near.verify, sketched(c))
    exchange.write(c.file(f"edges-{kind}", number), [np.ascontiguousarray(found.edges, "<u8").data])
    figures = {"edges": len(found.edges), "buckets": found.buckets, "largest": found.largest}
    storage.write_json(c.file(f"bucketed-{kind}", number), figures)


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
    edges = exchange.read_rows(edge_files(c), 0, 2)
    _write_stars(c, components.forest(edges), 0)


def first_turn(number: int, shards: int, c: Comparison) -> None:
    """Some of the edges, both ways, to the shards of their nodes."""
    edges = exchange.read_rows(edge_files(c)[number::shards], 0, 2)
    _to_shards(np.concatenate([edges, edges[:, ::-1]]), shards, c.file("turn", number, 0))
    storage.write_json(c.file("turned", number, 0), {"mark": 0, "edges": len(edges)})


def turn(number: int, shards: int, count: int, c: Comparison) -> None:
    """Odd turns are large-star, even ones small-star, each on one shard of nodes."""
    rows = exchange.read_rows([c.file("turn", shard, count - 1) for shard in range(shards)], number, 2)
    if count % 2:
        found = components.large_star(rows)
        out = found.edges
    else:
        found = components.small_star(rows)
        out = np.concatenate([found.edges, found.edges[:, ::-1]])
    _to_shards(out, shards, c.file("turn", number, count))
    storage.write_json(c.file("turned", number, count), {"mark": found.mark, "edges": len(found.edges)})


def _to_shards(rows: Rows, shards: int, location: str) -> None:
    exchange.write_rows(location, rows, shard_of(np.ascontiguousarray(rows[:, 0]), shards), shards)


def last_turn(number: int, shards: int, count: int, c: Comparison) -> None:
    """The edges of the turn that changed nothing are the stars."""
    rows = exchange.read_rows([c.file("turn", shard, count) for shard in range(shards)], number, 2)
    _write_stars(c, rows[rows[:, 0] > rows[:, 1]], number)


def _write_stars(c: Comparison, stars: Rows, number: int) -> None:
    """Stars by the groups of their nodes; a center comes too, as often as it has rays (`gather` takes it once)."""
    centers = np.unique(stars[:, 1])
    rows = np.concatenate([stars, np.stack([centers, centers], axis=1)])
    exchange.write_rows(c.file("stars", number), rows, c.group_of(rows[:, 0]), len(c.groups) + 1)


def gather(number: int, stars: int, shards: int, c: Comparison) -> None:
    """A group's documents that are in a component, with what the choice needs, by the component's shard.

    The group after the last is that of earlier documents.
    """
    labels = exchange.read_rows([c.file("stars", star) for star in range(stars)], number, 2)
    labels = np.unique(labels, axis=0)
    schema = clustered_schema(c.settings.prefer)
    if number < len(c.groups):
        units = ((labels[:, 0] & ~NEW) >> np.uint64(32)).astype(np.int64)
        tables = [_members(c, unit, labels[units == unit], schema) for unit in np.unique(units).tolist()]
    else:
        corpora = (labels[:, 0] >> np.uint64(55)).astype(np.int64)
        tables = [_earlier(c, corpus, labels[corpora == corpus], schema) for corpus in np.unique(corpora).tolist()]
    members = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
    target = shard_of(np.ascontiguousarray(members["root"].to_numpy()), shards)
    exchange.write_tables(
        c.file("members", number), [members.filter(pa.array(target == shard)) for shard in range(shards)]
    )


def _members(c: Comparison, unit: int, labels: Rows, schema: pa.Schema) -> pa.Table:
    positions = labels[:, 0] & np.uint64(0xFFFFFFFF)
    found = signed(c.place.keys(c.units[unit]), c.settings.near)
    at = np.searchsorted(found.positions, positions)
    rows = pa.array(positions.astype(np.int64))
    values: dict[str, pa.Array] = {}
    for number, one in enumerate(c.settings.prefer):
        field = schema.field(f"p{number}")
        if one.by == "length":
            values[field.name] = pa.array(found.lengths[at].astype(np.float64))
        else:
            values[field.name] = preferences.column(c.place, c.units[unit], one.by, field.type).take(rows)
    sketches: pa.Array = pa.nulls(len(labels), schema.field("sketch").type)
    if found.sketches.shape[1]:
        sketches = pa.array(_bytes(found.sketches[at]), schema.field("sketch").type)
    columns = {
        "root": labels[:, 1],
        "node": labels[:, 0],
        "earlier": pa.array(np.zeros(len(labels), bool)),
        "id": preferences.ids(c.place, c.units[unit], positions),
        "key": pa.array(_bytes(found.keys[at]), pa.binary(16)),
        "sketch": sketches,
        **values,
    }
    return pa.table(columns, schema=schema)


def _bytes(rows: Rows) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(rows, "<u8")]


def _earlier(c: Comparison, corpus: int, labels: Rows, schema: pa.Schema) -> pa.Table:
    nodes = labels[:, 0] & np.uint64((1 << 55) - 1)
    units, positions = (nodes >> np.uint64(32)).astype(np.int64), (nodes & np.uint64(0xFFFFFFFF)).astype(np.int64)
    columns: dict[str, pa.Array] = {field.name: pa.nulls(len(labels), field.type) for field in schema}
    columns |= {
        "root": pa.array(labels[:, 1]),
        "node": pa.array(labels[:, 0]),
        "earlier": pa.array(np.ones(len(labels), bool)),
        "id": pa.array(c.earlier[corpus].id_of(units, positions), pa.string()),
    }
    return pa.table(columns, schema=schema)


def decide(number: int, c: Comparison) -> None:
    """A shard of components: who goes, by groups of units."""
    schema = clustered_schema(c.settings.prefer)
    members = exchange.read_tables([c.file("members", group) for group in range(len(c.groups) + 1)], number, schema)
    chosen = choose(members, c.settings.prefer, sketched(c), c.settings.near is not None)
    groups = c.group_of(chosen.losers["node"].to_numpy())
    exchange.write_tables(
        c.file("losers", number), [chosen.losers.filter(pa.array(groups == group)) for group in range(len(c.groups))]
    )
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
