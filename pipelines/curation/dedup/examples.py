"""Pairs of duplicates as people want to see them: what each says where they begin to differ."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from pipelines.curation.decisions import texts_at
from pipelines.curation.dedup.comparison import NEW, Comparison

SHOWN_CHARACTERS = 600
_BEFORE = 200


def with_texts(pairs: list[dict[str, Any]], c: Comparison) -> list[dict[str, Any]]:
    """The pairs with `texts`, [removed, kept], in the place of `nodes`; null for a document of an earlier corpus."""
    wanted: dict[int, set[int]] = defaultdict(set)
    for pair in pairs:
        for node in pair["nodes"]:
            if node >= NEW:
                unit, position = _place(node)
                wanted[unit].add(position)
    found: dict[tuple[int, int], str] = {}
    for unit, positions in wanted.items():
        one = c.units[unit]
        for position, text in texts_at(c.place.documents(one), c.place.decisions(one), sorted(positions)).items():
            found[unit, position] = text
    out = []
    for pair in pairs:
        shown = dict(pair)
        removed, kept = (found.get(_place(node)) for node in shown.pop("nodes"))
        out.append(shown | {"texts": list(window(removed or "", kept))})
    return out


def _place(node: int) -> tuple[int, int]:
    return (int(np.uint64(node) & ~NEW) >> 32, node & 0xFFFFFFFF)


def window(one: str, two: str | None) -> tuple[str, str | None]:
    """Of each text some characters, from a little before the first difference on."""
    if two is None:
        return one[:SHOWN_CHARACTERS], None
    same = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
    begin = max(0, same - _BEFORE)
    return one[begin : begin + SHOWN_CHARACTERS], two[begin : begin + SHOWN_CHARACTERS]
