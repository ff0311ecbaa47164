"""Weights of documents under which groups are mentioned as often, or independently of what else a document is.

Reweighing of Kamiran and Calders 2012 ("Data preprocessing techniques for classification without discrimination",
§4.3): with S the group and Y the class of a document, each gets the weight

    w(s, y) = P(S=s) P(Y=y) / P(S=s, Y=y)

so that under the weights S and Y are independent, and each keeps its own distribution. `target: equal` puts 1/k in
P(S=s)'s place: the documents of each of the k groups weigh as much together. S is the group of an axis that a document
mentions most; documents that mention none, or two as often, keep the weight 1. Y is the document's source, language, or
whether it has a word of an attribute's set.

Weights above `max_weight` are cut there, and a cell without documents has nobody to weigh: both break the equality, and
the table of cells says how far. Nothing in groundwork reads the weights yet: they are for a sampler or a mixture
that draws documents in proportion. Equal counts are no fairness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from pipelines.curation.safety.counting import MentionCounter, Seen

WEIGHTS_SCHEMA = pa.schema([("id", pa.string()), ("weight", pa.float32())])

Cell = tuple[str, str]
"""(group, class)."""


class WeightSettings(BaseModel, extra="forbid", frozen=True):
    """Which documents get which weights."""

    axis: str = Field(description="the axis whose groups are weighed against each other, such as gender")
    by: str = Field(default="source", description="source, language, or an attribute such as career")
    target: Literal["observed", "equal"] = Field(
        default="observed", description="observed: groups independent of `by`; equal: groups weigh the same, too"
    )
    max_weight: float = Field(default=10.0, gt=1)


def cells_of(counter: MentionCounter, seen: Seen, batch: pa.RecordBatch, settings: WeightSettings) -> list[Cell | None]:
    """The cell of each document of a batch of the corpus; None: it keeps the weight 1."""
    names = sorted({label.name for label in counter.groups if label.axis == settings.axis})
    mentions = np.zeros((batch.num_rows, len(names)), np.int64)
    for number, label in enumerate(counter.groups):
        if label.axis == settings.axis:
            mentions[:, names.index(label.name)] += seen.mentions[:, number]
    most = mentions.max(axis=1)
    alone = (most > 0) & ((mentions == most[:, None]).sum(axis=1) == 1)
    classes = _classes(counter, seen, batch, settings.by)
    groups = mentions.argmax(axis=1)
    return [(names[groups[row]], classes[row]) if alone[row] else None for row in range(batch.num_rows)]


def _classes(counter: MentionCounter, seen: Seen, batch: pa.RecordBatch, by: str) -> list[str]:
    if by in ("source", "language"):
        found: list[str] = batch[by].to_pylist()
        return found
    numbers = [n for n, label in enumerate(counter.attributes, start=len(counter.groups)) if label.name == by]
    has: NDArray[np.bool_] = seen.mentions[:, numbers].sum(axis=1) > 0
    return [by if each else f"no {by}" for each in has.tolist()]


def weigh(cells: Mapping[Cell, int], settings: WeightSettings) -> dict[Cell, float]:
    """The weight of each cell's documents; `cells` counts them."""
    total = sum(cells.values())
    groups, classes = _margins(cells)
    found = {}
    for (group, kind), count in cells.items():
        share = groups[group] / total if settings.target == "observed" else 1 / len(groups)
        found[group, kind] = min(settings.max_weight, share * classes[kind] / count)
    return found


def _margins(cells: Mapping[Cell, float]) -> tuple[Counter[str], Counter[str]]:
    groups: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    for (group, kind), count in cells.items():
        groups[group] += count  # type: ignore[assignment]
        classes[kind] += count  # type: ignore[assignment]
    return groups, classes


def table(cells: Mapping[Cell, int], settings: WeightSettings) -> dict[str, Any]:
    """The cells with their weights, what groups weigh before and after, and what could not be made equal."""
    found = weigh(cells, settings)
    groups, classes = _margins(cells)
    weighed, _ = _margins({cell: count * found[cell] for cell, count in cells.items()})
    return {
        **settings.model_dump(),
        "groups": {name: {"documents": groups[name], "weight": round(weighed[name], 2)} for name in sorted(groups)},
        "cells": [
            {"group": group, "class": kind, "documents": cells[group, kind], "weight": round(found[group, kind], 4)}
            for group, kind in sorted(cells)
        ],
        "empty_cells": [
            [group, kind] for group in sorted(groups) for kind in sorted(classes) if (group, kind) not in cells
        ],
        "cut": sorted([*cell] for cell, weight in found.items() if weight >= settings.max_weight),
    }
