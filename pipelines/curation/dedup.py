"""Exact deduplication over the whole corpus: only keys, ids and positions cross the network.

Documents with the same 128-bit key (`keys.text_keys`) are one document; the smallest id stays. Keys are put into
buckets by their first bytes, a bucket is grouped in one task, and the losers travel once more to be written as one
list for each unit. The answer depends on the keys and ids alone, not on how the work was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.curation.planning import Unit
from pipelines.curation.stages import REMOVALS_SCHEMA
from pipelines.curation.tables import TableWriter, batches
from pipelines.curation.workspace import Workspace

KEYS_A_BUCKET = 2_000_000

KEYS_SCHEMA = pa.schema(
    [
        ("bucket", pa.int32()),
        ("key", pa.binary(16)),
        ("id", pa.string()),
        ("unit", pa.string()),
        ("position", pa.int64()),
    ]
)


def find_duplicates(units: list[Unit], documents: int, place: Workspace, key: str) -> int:
    """Write the list of duplicates of each unit that has some; returns how many there are.

    Args:
        units: all of them, with decisions written.
        documents: how many decisions there are, which fixes the number of buckets. One bucket is grouped in this
            process, several go through Ray Data.
        key: names this deduplication; its lists lie together.
    """
    buckets = -(-documents // KEYS_A_BUCKET)
    if buckets > 1:
        return _through_ray(units, buckets, place, key)
    names = {unit.name: unit for unit in units}
    keys = [table for unit in units for table in _keys(unit.name, place.decisions(unit), 1)]
    losers = losers_of(pa.concat_tables(keys))
    for name in losers["unit"].unique().to_pylist():
        _write(losers.filter(pc.equal(losers["unit"], name)), names, place, key)
    return int(losers.num_rows)


def _through_ray(units: list[Unit], buckets: int, place: Workspace, key: str) -> int:
    import ray

    rows = [{"unit": unit.name, "decisions": place.decisions(unit)} for unit in units]
    keys = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        partial(_read_keys, buckets=buckets), batch_size=1, batch_format="pyarrow", num_cpus=1
    )
    losers = keys.groupby("bucket", num_partitions=min(buckets, 200)).map_groups(losers_of, batch_format="pyarrow")
    losers.set_name("curate-duplicates")
    found = losers.materialize()
    count = int(found.count())
    if count:
        write = partial(_write, units={unit.name: unit for unit in units}, place=place, key=key)
        lists = found.groupby("unit", num_partitions=min(len(units), 200)).map_groups(write, batch_format="pyarrow")
        lists.set_name("curate-removals")
        written = sum(row["rows"] for row in lists.iter_rows())
        if written != count:
            raise RuntimeError(f"deduplication wrote {written} of {count} duplicates")
    return count


def _read_keys(batch: pa.Table, buckets: int) -> Iterator[pa.Table]:
    for unit, location in zip(batch["unit"].to_pylist(), batch["decisions"].to_pylist(), strict=True):
        yield from _keys(unit, location, buckets)


def _keys(unit: str, location: str, buckets: int) -> Iterator[pa.Table]:
    for rows in batches(location, ["position", "id", "key"]):
        yield keys_table(rows, unit, buckets)
    # A shuffle fails on a block that has no columns, which is what yielding nothing would give it.
    yield empty(KEYS_SCHEMA)


def keys_table(rows: pa.RecordBatch, unit: str, buckets: int) -> pa.Table:
    """Decisions as rows of `KEYS_SCHEMA`; the bucket is made of the key's first four bytes."""
    raw = np.frombuffer(b"".join(rows["key"].to_pylist()), dtype=">u4").reshape(-1, 4)
    columns = {
        "bucket": pa.array((raw[:, 0] % buckets).astype(np.int32)),
        "key": rows["key"],
        "id": rows["id"],
        "unit": pa.array([unit] * rows.num_rows, pa.string()),
        "position": rows["position"],
    }
    return pa.table(columns, schema=KEYS_SCHEMA)


def empty(schema: pa.Schema) -> pa.Table:
    """No rows, but columns."""
    return pa.table({name: [] for name in schema.names}, schema=schema)


def losers_of(bucket: pa.Table) -> pa.Table:
    """All documents of a bucket but the one with the smallest id of each key, sorted by unit and position."""
    ordered = bucket.sort_by([("key", "ascending"), ("id", "ascending")]).combine_chunks()
    if ordered.num_rows < 2:
        return empty(REMOVALS_SCHEMA)
    raw = np.frombuffer(b"".join(ordered["key"].to_pylist()), dtype=">u8").reshape(-1, 2)
    same = np.zeros(len(raw), dtype=bool)
    same[1:] = (raw[1:] == raw[:-1]).all(axis=1)
    if not same.any():
        return empty(REMOVALS_SCHEMA)
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(raw))))
    lost = pa.array(np.flatnonzero(same))
    kept = ordered["id"].take(pa.array(first[same]))
    table = pa.table(
        {"unit": ordered["unit"].take(lost), "position": ordered["position"].take(lost), "kept": kept},
        schema=REMOVALS_SCHEMA,
    )
    return table.sort_by([("unit", "ascending"), ("position", "ascending")])


def _write(group: pa.Table, units: dict[str, Unit], place: Workspace, key: str) -> pa.Table:
    """Write one unit's list."""
    name = group["unit"][0].as_py()
    rows = group.sort_by("position").select(REMOVALS_SCHEMA.names)
    with TableWriter(place.removals(key, units[name]), REMOVALS_SCHEMA) as writer:
        for row in rows.to_pylist():
            writer.add(tuple(row.values()))
    return pa.table({"unit": [name], "rows": [group.num_rows]})
