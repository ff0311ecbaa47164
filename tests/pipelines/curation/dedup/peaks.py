"""The largest tasks of a comparison by themselves, of any size; each of `CASES` prepares files and gives tasks on them.

    python -m tests.pipelines.curation.dedup.peaks CASE DIR NUMBERS

does a case's tasks, prepared in DIR by a process before it, and prints what the process held at most, in bytes.
"""

import itertools
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.curation.dedup import exchange, passes
from pipelines.curation.dedup.choosing import clustered_schema
from pipelines.curation.dedup.comparison import Comparison, nodes_of
from pipelines.curation.dedup.components import EDGES_A_TASK
from pipelines.curation.dedup.exchange import MOST_ROWS, Scale
from pipelines.curation.dedup.index import Index
from pipelines.curation.dedup.settings import DuplicateSettings
from pipelines.curation.dedup.signing import width
from pipelines.curation.documents import EXTRACTED_SCHEMA
from pipelines.curation.planning import Unit
from pipelines.curation.stages import DECISIONS_SCHEMA
from pipelines.curation.tables import TableWriter
from pipelines.curation.workspace import Workspace

LARGEST = 2 * MOST_ROWS
"""Numbers of the rows of the largest task."""
A_UNIT = 45_000
PREFER = [{"by": "date", "first": "low"}, {"by": "length"}]


class Case(NamedTuple):
    prepare: Callable[[], None]
    tasks: list[Callable[[], None]]


def comparison(folder: Path, verify: float | None, counts: tuple[int, ...] = (1,), earlier: tuple[Index, ...] = ()):
    values = {"exact": False, "near": {"preset": "fineweb", "verify": verify}, "prefer": PREFER}
    units = tuple(Unit(f"u-{number:03d}", 0, ()) for number in range(len(counts)))
    place, wanted = Workspace(str(folder)), DuplicateSettings.model_validate(values)
    return Comparison(place, "key", wanted, units, counts, earlier, Scale(sum(counts), LARGEST))


def keys_in_a_range(folder: Path, numbers: int, copies: int, verify: float | None, against: bool) -> Case:
    """Each key is that of so many documents; half of the keys, once each, are those of an earlier corpus too."""
    old = Index(str(folder / "old"), {"slices": {"near": 1}, "groups": [[0, 1]]})
    c = comparison(folder, verify, earlier=(old,) if against else ())

    def prepare() -> None:
        chance, count = np.random.Generator(np.random.PCG64(1)), numbers // c.width("near")
        keys = np.repeat(chance.integers(0, 2**64, -(-count // copies), np.uint64), copies)[:count]
        rows = chance.permutation(keys)[:, None] * np.arange(1, c.width("near") + 1, dtype=np.uint64)
        rows[:, 1] = nodes_of(0, np.arange(count, dtype=np.uint64))
        exchange.write(c.file("rows-near", 0), [rows.data])
        before = rows[np.unique(rows[:, 0], return_index=True)[1]]
        before[::2, 0] = chance.integers(0, 2**64, len(before[::2]), np.uint64)
        exchange.write(old.keys("near", 0), [before[np.argsort(before[:, 0])].data])

    return Case(prepare, [partial(passes.bucket, "near", 0, c)])


def edges(folder: Path, numbers: int, copies: int) -> Case:
    """Components of so many documents, found in one task and in turns of one shard."""
    c = comparison(folder, None)

    def prepare() -> None:
        chance, count = np.random.Generator(np.random.PCG64(2)), EDGES_A_TASK * numbers // LARGEST
        nodes = nodes_of(0, chance.permutation(np.arange(count * copies // (copies - 1), dtype=np.uint64)))
        roots = np.repeat(nodes[::copies], copies)[: len(nodes)]
        exchange.write(c.file("edges-near", 0), [np.stack([nodes, roots], axis=1)[nodes != roots].data])

    turns = [partial(passes.turn, 0, 1, number, c) for number in (1, 2, 3, 4)]
    tasks = [partial(passes.connect, c), partial(passes.first_turn, 0, 1, c), *turns]
    return Case(prepare, [*tasks, partial(passes.last_turn, 0, 1, 4, c)])


def _counts(documents: int) -> tuple[int, ...]:
    return (*itertools.repeat(A_UNIT, documents // A_UNIT), documents % A_UNIT)


def _write_units(c: Comparison) -> None:
    chance = np.random.Generator(np.random.PCG64(3))
    for unit, count in zip(c.units, c.counts, strict=True):
        rows = chance.integers(1, 2**64, (count, width(c.settings.near)), np.uint64)
        rows[:, 0] = np.arange(count)
        exchange.write(c.place.keys(unit), [rows.data])
        ids = pa.array([f"source/{unit.name}-CC-MAIN-2024-10.warc.gz-{number:010x}" for number in range(count)])
        columns = {"position": pa.array(np.arange(count)), "id": ids, "date": pa.repeat("2024-01-05T00:00:00Z", count)}
        for location, schema in (
            (c.place.documents(unit), EXTRACTED_SCHEMA),
            (c.place.decisions(unit), DECISIONS_SCHEMA),
        ):
            found = {field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in schema}
            with TableWriter(location, schema) as writer:
                writer.write(pa.record_batch(found, schema=schema))


def keys_of_a_group(folder: Path, numbers: int, verify: float | None) -> Case:
    """Documents of many units."""
    c = comparison(folder, verify, _counts(numbers // (14 * comparison(folder, verify).width("near"))))
    assert len(c.groups) == 1
    return Case(lambda: _write_units(c), [partial(passes.spill, 0, c)])


def members_of_a_group(folder: Path, numbers: int) -> Case:
    """Pairs of documents of many units."""
    c = comparison(folder, None, _counts(Scale.of(10**10).documents * numbers // LARGEST))
    assert len(c.groups) == 1

    def prepare() -> None:
        _write_units(c)
        found = enumerate(c.counts)
        nodes = np.concatenate([nodes_of(unit, np.arange(count, dtype=np.uint64)) for unit, count in found])
        exchange.write(c.file("stars", 0), [np.stack([nodes, nodes & ~np.uint64(1)], axis=1).data])

    return Case(prepare, [partial(passes.gather, 0, 1, 5000, c)])


def members_of_components(folder: Path, numbers: int, copies: int) -> Case:
    """What a shard of components is chosen from."""
    c = comparison(folder, 0.7)
    schema = clustered_schema(c.settings.prefer)

    def prepare() -> None:
        count = passes.MEMBERS_A_TASK * numbers // LARGEST
        at = np.arange(count, dtype=np.uint64)
        names = [f"source/u-000-CC-MAIN-2024-10.warc.gz-{number:010x}" for number in range(count)]
        columns = {
            "root": nodes_of(0, np.random.Generator(np.random.PCG64(4)).permutation(at) // np.uint64(copies)),
            "node": nodes_of(0, at),
            "earlier": pa.repeat(False, count),
            "id": names,
            "key": pa.array([number.to_bytes(16, "big") for number in range(count)], schema.field("key").type),
            "sketch": pa.repeat(pa.scalar(bytes(32), schema.field("sketch").type), count),
            "p0": at,
            "p1": at,
        }
        exchange.write_tables(c.file("members", 0), [pa.table(columns, schema=schema)])

    return Case(prepare, [partial(passes.decide, 0, c)])


CASES: dict[str, Callable[[Path, int], Case]] = {
    **{
        f"keys-{copies}-{verify}-{'against' if against else 'alone'}": partial(
            keys_in_a_range, copies=copies, verify=verify, against=against
        )
        for copies in (1, 2, 50)
        for verify in (None, 0.7)
        for against in (False, True)
    },
    **{f"edges-{copies}": partial(edges, copies=copies) for copies in (2, 50)},
    **{f"group-{verify}": partial(keys_of_a_group, verify=verify) for verify in (None, 0.7)},
    "members": members_of_a_group,
    **{f"choice-{copies}": partial(members_of_components, copies=copies) for copies in (2, 50)},
}


def main() -> None:
    name, folder, numbers = sys.argv[1:]
    for task in CASES[name](Path(folder), int(numbers)).tasks:
        task()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024)


if __name__ == "__main__":
    main()
