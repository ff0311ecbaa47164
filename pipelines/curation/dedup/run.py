"""A comparison from beginning to end: what is not done yet of each pass, on Ray, or here where there is little."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipelines import storage
from pipelines.curation.dedup import index, passes
from pipelines.curation.dedup.choosing import merged
from pipelines.curation.dedup.comparison import KINDS, Comparison
from pipelines.curation.dedup.components import EDGES_A_TASK
from pipelines.curation.dedup.examples import with_texts
from pipelines.curation.dedup.tasks import Passes, Report

HERE = 200_000
"""Up to so many documents are compared in this process: a quarter of a gigabyte, and sooner than Ray's tasks begin."""


def compare(c: Comparison, report: Report = lambda note: None, edges_a_task: int = EDGES_A_TASK) -> dict[str, Any]:
    """Write the list of duplicates of each unit that has some, and the index; returns figures for the report.

    What an interrupted comparison of the same key finished is kept.

    Args:
        c: what is compared; its units are signed.
        report: is told of each pass.
        edges_a_task: above this the components are found in turns.
    """
    kinds = [kind for kind in KINDS if c.slices(kind)]
    groups, slices = len(c.groups), [(kind, number) for kind in kinds for number in range(c.slices(kind))]
    run = Passes("duplicates", c.documents <= HERE, report)
    run.each("spill", partial(passes.spill, c=c), list(range(groups)), lambda g: c.file("spilled", g))
    run.each("bucket", partial(_bucket, c=c), [list(s) for s in slices], lambda s: c.file(f"bucketed-{s[0]}", s[1]))
    bucketed = [storage.read_json(c.file(f"bucketed-{kind}", number)) for kind, number in slices]
    edges = sum(part["edges"] for part in bucketed)
    stars, rays = _components(c, edges, edges_a_task, run)
    shards = max(1, -(-2 * rays // passes.MEMBERS_A_TASK))
    run.each(
        "gather",
        partial(passes.gather, stars=stars, shards=shards, c=c),
        list(range(len(c.begins))),
        lambda g: c.file("members", g),
    )
    run.each("choose", partial(passes.decide, c=c), list(range(shards)), lambda s: c.file("chosen", s))
    run.each("remove", partial(passes.remove, shards=shards, c=c), list(range(groups)), lambda g: c.file("removed", g))
    if c.settings.keep_index:
        _finish_index(c)
    figures = merged([storage.read_json(c.file("chosen", shard)) for shard in range(shards)])
    figures["pairs"] = with_texts(figures["pairs"], c)
    removed = sum(storage.read_json(c.file("removed", group))["documents"] for group in range(groups))
    buckets = {
        kind: {
            "shared": sum(part["buckets"] for (own, _), part in zip(slices, bucketed, strict=True) if own == kind),
            "largest": max(part["largest"] for (own, _), part in zip(slices, bucketed, strict=True) if own == kind),
        }
        for kind in kinds
    }
    values = {"documents": c.documents, "removed": removed, "edges": edges, "buckets": buckets, **figures}
    return values | {"seconds": run.seconds()}


def _components(c: Comparison, edges: int, edges_a_task: int, run: Passes) -> tuple[int, int]:
    """The components as files of stars; returns how many files, and the most edges that they may hold."""
    if edges <= edges_a_task:
        run.each("components", partial(_connect, c=c), [0], lambda shard: c.file("stars", shard))
        return 1, edges
    shards = -(-edges // edges_a_task)
    numbers = list(range(shards))
    run.each("components", partial(passes.first_turn, shards=shards, c=c), numbers, lambda s: c.file("turned", s, 0))
    count, before = 0, None
    while True:
        for _ in range(2):
            count += 1
            step = partial(passes.turn, shards=shards, count=count, c=c)
            run.each("components", step, numbers, partial(_turned, count=count, c=c))
        marks = [storage.read_json(c.file("turned", shard, count)) for shard in numbers]
        now = (sum(mark["mark"] for mark in marks) % 2**64, sum(mark["edges"] for mark in marks))
        if now == before:
            break
        before = now
        for shard in numbers:
            for earlier in (count - 2, count - 3) if count > 2 else ():
                storage.remove(c.file("turn", shard, earlier))
    last = partial(passes.last_turn, shards=shards, count=count, c=c)
    run.each("components", last, numbers, lambda s: c.file("stars", s))
    return shards, now[1]


def _turned(shard: int, count: int, c: Comparison) -> str:
    return c.file("turned", shard, count)


def _connect(number: int, c: Comparison) -> None:
    passes.connect(c)


def _bucket(item: list[Any], c: Comparison) -> None:
    passes.bucket(item[0], item[1], c)


def _finish_index(c: Comparison) -> None:
    """Name the new index; the one before goes."""
    values = {
        **index.describe(c.settings.near, c.settings.exact),
        "directory": c.key,
        "documents": c.documents,
        "slices": {kind: c.slices(kind) for kind in KINDS if c.slices(kind)},
        "groups": [list(group) for group in c.groups],
        "units": [unit.name for unit in c.units],
    }
    home = storage.join(c.place.output, "duplicates")
    storage.write_json(storage.join(home, "index.json"), values)
    for location in storage.expand(home):
        directory = location.removeprefix(home).lstrip("/").split("/")[0]
        if directory not in (c.key, "index.json"):
            storage.remove(storage.join(home, directory))
