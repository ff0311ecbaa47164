"""A corpus counted, weighed and copied, a part a task. What runs the tasks is passed in: here, or Ray."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.curation.documents import CORPUS_SCHEMA
from pipelines.curation.safety import weights
from pipelines.curation.safety.corpus import Corpus, Part, count_part, parts
from pipelines.curation.safety.counterfactual import LANGUAGE, SUFFIX, swap
from pipelines.curation.safety.counting import MentionCounter
from pipelines.curation.safety.groups import Words
from pipelines.curation.safety.weights import WEIGHTS_SCHEMA, Cell, WeightSettings
from pipelines.curation.tables import TableWriter, batches, describe

Executor = Callable[[str, Callable[[Part], dict[str, Any]], Sequence[Part]], Iterator[dict[str, Any]]]
"""(name, function, parts) -> what the function gave for each part, in any order, as JSON holds it."""


def here(name: str, function: Callable[[Part], dict[str, Any]], todo: Sequence[Part]) -> Iterator[dict[str, Any]]:
    """An `Executor` without Ray."""
    for part in todo:
        yield json.loads(json.dumps(function(part)))


def on_ray(name: str, function: Callable[[Part], dict[str, Any]], todo: Sequence[Part]) -> Iterator[dict[str, Any]]:
    """An `Executor` for the Ray that the caller has connected to: one task of one CPU a part."""
    import ray

    def rows(table: pa.Table) -> pa.Table:
        return pa.table({"json": [json.dumps(function(Part(**row))) for row in table.to_pylist()]})

    rows.__name__ = name
    plan = pa.Table.from_pylist([vars(part) for part in todo], schema=_PARTS)
    dataset = ray.data.from_arrow([plan.slice(row, 1) for row in range(len(plan))])
    dataset.set_name(name)
    done = dataset.map_batches(rows, batch_size=1, batch_format="pyarrow", num_cpus=1)
    for row in done.iter_rows():
        yield json.loads(row["json"])


_PARTS = pa.schema([(name, pa.string()) for name in ("unit", "corpus", "documents", "signals")])


def count(
    output: str,
    words: Mapping[str, Words],
    window: int,
    smoothing: float,
    weighed: WeightSettings | None,
    run: Executor,
) -> dict[str, Any]:
    """The tables of a curation's corpus, before and after: `corpus`'s, and the cells of `weights`.

    Raises FileNotFoundError where `output` holds no finished corpus.
    """
    corpus = Corpus(MentionCounter(words, window), smoothing)
    cells: Counter[Cell] = Counter()

    def counted(part: Part) -> dict[str, Any]:
        counter = MentionCounter(words, window)
        own = _cells(part, counter, weighed) if weighed is not None else {}
        return {"tallies": count_part(part, counter), "cells": [[*cell, number] for cell, number in own.items()]}

    for done in run("audit-count", counted, parts(output)):
        corpus.add(done["tallies"])
        cells.update({(group, kind): number for group, kind, number in done["cells"]})
    found: dict[str, Any] = {"languages": corpus.tables()}
    if weighed is not None:
        found["weights"] = weights.table(cells, weighed)
    return found


def _cells(part: Part, counter: MentionCounter, settings: WeightSettings) -> Counter[Cell]:
    found: Counter[Cell] = Counter()
    for batch in batches(part.corpus, ["text", "language", "source"]):
        seen = counter.count(batch["text"], batch["language"].to_pylist())
        found.update(cell for cell in weights.cells_of(counter, seen, batch, settings) if cell is not None)
    return found


def write_weights(
    output: str, destination: str, words: Mapping[str, Words], table: Mapping[str, Any], run: Executor
) -> int:
    """`destination`/part-UNIT.parquet with a row (id, weight) for each document of the corpus; returns the rows."""
    settings = WeightSettings(**{name: table[name] for name in WeightSettings.model_fields})
    by_cell = {(cell["group"], cell["class"]): cell["weight"] for cell in table["cells"]}

    def written(part: Part) -> dict[str, Any]:
        counter = MentionCounter(words, 0)
        with TableWriter(storage.join(destination, f"part-{part.unit}.parquet"), WEIGHTS_SCHEMA) as out:
            for batch in batches(part.corpus, ["id", "text", "language", "source"]):
                seen = counter.count(batch["text"], batch["language"].to_pylist())
                own = [
                    by_cell.get(cell, 1.0) if cell else 1.0 for cell in weights.cells_of(counter, seen, batch, settings)
                ]
                out.write(pa.record_batch([batch["id"], pa.array(own, pa.float32())], schema=WEIGHTS_SCHEMA))
        return {"rows": out.rows}

    return sum(done["rows"] for done in run("audit-weights", written, parts(output)))


def write_counterfactuals(output: str, destination: str, run: Executor) -> int:
    """English documents with gendered words again, these swapped, as a corpus of its own; returns how many.

    `destination` holds what `corpus/` does: part-UNIT.parquet, and manifest.json last. A copy's id is the document's
    with `~cf`, its source the document's with `-counterfactual`.
    """

    def written(part: Part) -> dict[str, Any]:
        location = storage.join(destination, f"part-{part.unit}.parquet")
        sources: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        with TableWriter(location, CORPUS_SCHEMA) as out:
            for batch in batches(part.corpus):
                copies = _copies(batch)
                out.write(copies)
                for source, size in zip(
                    copies["source"].to_pylist(), pc.binary_length(copies["text"]).to_pylist(), strict=True
                ):
                    sources[source] += 1
                    sizes[source] += size
        counted = {name: {"documents": sources[name], "bytes": sizes[name]} for name in sources}
        return {"path": location.rsplit("/", 1)[-1], "rows": out.rows, "sources": counted, **describe(location)}

    files = sorted(run("audit-counterfactual", written, parts(output)), key=lambda file: file["path"])
    sources: dict[str, Counter[str]] = {}
    for file in files:
        for name, counted in file.pop("sources").items():
            sources.setdefault(name, Counter()).update(counted)
    manifest = {
        "version": 2,
        "settings": "counterfactual",
        "documents": sum(counted["documents"] for counted in sources.values()),
        "bytes": sum(counted["bytes"] for counted in sources.values()),
        "sources": {name: dict(counted) for name, counted in sorted(sources.items())},
        "files": files,
    }
    storage.write_json(storage.join(destination, "manifest.json"), manifest)
    return int(manifest["documents"])  # type: ignore[call-overload]


def _copies(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of a batch of the corpus that have a counterfactual, with it in the text's place."""
    texts: list[str] = []
    rows: list[int] = []
    english = np.flatnonzero(np.array(batch["language"].to_pylist(), object) == LANGUAGE)
    for row in english.tolist():
        swapped = swap(batch["text"][row].as_py())
        if swapped is not None:
            texts.append(swapped)
            rows.append(row)
    chosen = batch.take(pa.array(rows, pa.int64()))
    changed = {
        "id": pa.array([f"{name}{SUFFIX}" for name in chosen["id"].to_pylist()], pa.string()),
        "text": pa.array(texts, pa.large_string()),
        "source": pa.array([f"{name}-counterfactual" for name in chosen["source"].to_pylist()], pa.string()),
    }
    return pa.record_batch([changed.get(name, chosen[name]) for name in CORPUS_SCHEMA.names], schema=CORPUS_SCHEMA)
