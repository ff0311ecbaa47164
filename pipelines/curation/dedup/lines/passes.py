"""The tasks of a comparison of segments, files to files, without Ray. Each leaves the file that says it is done last.

segments of units --spill--> rows by ranges of keys --bucket--> verdicts by groups of units --cut--> a list a unit

Of the documents of a group that have a segment only the first by rank goes into the rows, with the number of them all:
a line of a million pages is as many rows as there are groups, and verdicts are of keys, not of places.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import storage
from pipelines.curation.decisions import texts_at
from pipelines.curation.dedup import exchange
from pipelines.curation.dedup.buckets import beginnings
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.lines import stored
from pipelines.curation.dedup.lines.comparison import LineComparison
from pipelines.curation.dedup.lines.cutting import CUTS_SCHEMA, STAGE
from pipelines.curation.dedup.lines.segments import BEGIN, CHARACTERS, END, WORDS
from pipelines.curation.documents import REMOVALS_SCHEMA, excerpt
from pipelines.curation.tables import TableWriter

KEY, DOCUMENTS, RANK = range(3)
"""Columns of rows."""
STAYS, DUPLICATE, BOILERPLATE = -1, 0, 1
"""What becomes of a segment. A verdict on a key is for a group's first copy; the others are duplicates anyway."""

SHOWN = 12
"""So many of the segments that most documents have are kept for the report."""


class Distinct(NamedTuple):
    """The d different keys of a group's m segments, ascending."""

    keys: NDArray[np.uint64]
    documents: NDArray[np.int64]
    """[d] how many of the group's documents have each."""
    order: NDArray[np.int64]
    """[m] the segments, in the order of documents, by key, then by their document's rank, then by place."""
    begins: NDArray[np.int64]
    """[d] where a key's begin in `order`."""
    members: Rows
    """[n, 4 + r] all documents, as `stored` has them."""
    of: NDArray[np.int32]
    """[m] which of them each segment is of."""


def distinct(number: int, c: LineComparison) -> Distinct:
    """A group's segments, brought together."""
    first, last = c.groups[number]
    locations = [c.place.segments(c.units[unit]) for unit in range(first, last)]
    nothing = np.zeros((0, stored.RANK + c.ranks), np.uint64)
    members = np.concatenate([nothing, *(stored.documents(location, c.ranks) for location in locations)])
    keys = np.concatenate([np.zeros(0, np.uint64), *map(stored.keys, locations)])
    rank = np.empty(len(members), np.int32)
    rank[np.lexsort(members[:, : stored.RANK - 1 : -1].T)] = np.arange(len(members))
    of = np.repeat(np.arange(len(members), dtype=np.int32), members[:, stored.SEGMENTS].astype(np.int64))
    order = np.lexsort((rank[of], keys))
    keys = keys[order]
    begins = np.flatnonzero(beginnings(keys))
    first_of_document = beginnings(keys, of[order])
    documents = np.add.reduceat(first_of_document, begins, dtype=np.int64) if len(begins) else begins
    return Distinct(keys[begins], documents, order, begins, members, of)


def spill(number: int, c: LineComparison) -> None:
    """A group of units: its different keys as rows, cut by ranges of keys."""
    d = distinct(number, c)
    rows = np.empty((len(d.keys), c.width), np.uint64)
    rows[:, KEY], rows[:, DOCUMENTS] = d.keys, d.documents
    rows[:, RANK:] = d.members[d.of[d.order[d.begins]], stored.RANK :]
    exchange.write_rows(c.file("rows", number), rows, exchange.by_range(d.keys, c.slices), c.slices)
    figures = {"documents": len(d.members), "segments": len(d.of)}
    storage.write_json(c.file("spilled", number), figures)


def bucket(number: int, c: LineComparison) -> None:
    """A range of keys: what becomes of the first copy of each group."""
    parts = [exchange.read_rows([c.file("rows", group)], number, c.width) for group in range(len(c.groups))]
    group = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rows = np.concatenate(parts)
    alone = np.ones(len(rows), bool)
    shared = repeated(rows[:, KEY])
    alone[shared] = False
    order = np.lexsort((group[shared], *rows[shared, :DOCUMENTS:-1].T, rows[shared, KEY]))
    ordered = np.concatenate([shared[order], np.flatnonzero(alone)])
    rows, group = rows[ordered], group[ordered]
    starts = beginnings(rows[:, KEY])
    begins = np.flatnonzero(starts)
    documents = np.add.reduceat(rows[:, DOCUMENTS], begins) if len(begins) else rows[:, DOCUMENTS]
    boilerplate = np.zeros(len(begins), bool)
    if c.settings.boilerplate_documents is not None:
        boilerplate = documents >= c.settings.boilerplate_documents
    verdict = np.where(starts, STAYS, DUPLICATE)
    verdict[np.repeat(boilerplate, np.diff(begins, append=len(rows)))] = BOILERPLATE
    told = verdict != STAYS
    out = np.stack([rows[told, KEY], verdict[told].astype(np.uint64)], axis=1)
    exchange.write_rows(c.file("verdicts", number), out, group[told], len(c.groups))
    most = [
        {"documents": int(documents[at]), "key": int(rows[begins[at], KEY]), "group": int(group[begins[at]])}
        for at in np.lexsort((rows[begins, KEY], -documents.astype(np.int64)))[:SHOWN]
        if documents[at] > 1
    ]
    figures = {"distinct": len(begins), "shared": int((documents > 1).sum()), "boilerplate": int(boilerplate.sum())}
    storage.write_json(c.file("bucketed", number), figures | {"most": most})


def repeated(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Rows whose key another row has too."""
    if len(keys) < 2:
        return np.zeros(0, np.int64)
    order = np.argsort(keys)
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    return order[np.concatenate([same, [False]]) | np.concatenate([[False], same])]


def cut(number: int, shown: list[dict[str, Any]], c: LineComparison) -> None:
    """A group of units: what goes of each of its documents, and which documents go.

    Args:
        shown: the segments whose texts the report wants, as `bucket` has them.
    """
    d = distinct(number, c)
    verdict = np.full(len(d.of), DUPLICATE, np.int8)
    verdict[d.order[d.begins]] = STAYS
    told = exchange.read_rows([c.file("verdicts", part) for part in range(c.slices)], number, 2)
    at = np.searchsorted(d.keys, told[:, 0])
    verdict[d.order[d.begins[at]]] = DUPLICATE
    everywhere = np.zeros(len(d.keys), bool)
    everywhere[at[told[:, 1] == BOILERPLATE]] = True
    verdict[d.order[np.repeat(everywhere, np.diff(d.begins, append=len(d.of)))]] = BOILERPLATE
    figures: Counter[str] = Counter()
    own = [each for each in shown if each["group"] == number]
    firsts = dict(zip((each["key"] for each in own), _firsts(d, own), strict=True))
    texts = {}
    member = segment = 0
    first, last = c.groups[number]
    for unit in range(first, last):
        location = c.place.segments(c.units[unit])
        sizes = stored.sizes(location)
        count = len(stored.documents(location, c.ranks))
        end = segment + len(sizes)
        documents, of = d.members[member : member + count], d.of[segment:end] - member
        figures.update(_cut_unit(c, unit, documents, of, sizes, verdict[segment:end]))
        for key, place in firsts.items():
            if segment <= place < end:
                position = int(documents[of[place - segment], stored.POSITION])
                texts[key] = _text(c, unit, position, sizes[place - segment])
        member, segment = member + count, end
    values = {"shown": [{"key": key, "text": text} for key, text in texts.items()], **dict(sorted(figures.items()))}
    storage.write_json(c.file("cut", number), values)


def _firsts(d: Distinct, shown: list[dict[str, Any]]) -> list[int]:
    keys = np.array([each["key"] for each in shown], np.uint64)
    found: list[int] = d.order[d.begins[np.searchsorted(d.keys, keys)]].tolist() if len(keys) else []
    return found


def _text(c: LineComparison, unit: int, position: int, size: NDArray[np.uint32]) -> str:
    one = c.units[unit]
    text = texts_at(c.place.documents(one), c.place.decisions(one), [position])[position]
    return excerpt(text.encode()[int(size[BEGIN]) : int(size[END])].decode())


def _cut_unit(
    c: LineComparison,
    unit: int,
    documents: Rows,
    of: NDArray[np.int32],
    sizes: NDArray[np.uint32],
    verdict: NDArray[np.int8],
) -> dict[str, int]:
    """Write the lists of a unit; returns what they come to."""
    goes = verdict != STAYS
    lost = [
        np.bincount(of[goes], sizes[goes, column], len(documents)).astype(np.int64) for column in (CHARACTERS, WORDS)
    ]
    touched = np.bincount(of[goes], minlength=len(documents)) > 0
    share = lost[0] / np.maximum(1, documents[:, stored.CHARACTERS].astype(np.int64))
    left = documents[:, stored.WORDS].astype(np.int64) - lost[1]
    mostly = touched & (share > c.settings.max_lost)
    short = touched & ~mostly & (left < c.settings.min_words_left)
    removed = np.flatnonzero(mostly | short)
    positions = documents[:, stored.POSITION].astype(np.int64)
    one, many = c.settings.name, c.settings.by
    if len(removed):
        is_short = short[removed]
        columns = {
            "position": positions[removed],
            "stage": [STAGE] * len(removed),
            "reason": np.where(is_short, "too_few_words_left", f"mostly_duplicate_{many}").tolist(),
            "score": np.where(is_short, left[removed], share[removed]),
            "threshold": np.where(is_short, float(c.settings.min_words_left), c.settings.max_lost),
            "detail": [""] * len(removed),
        }
        _write(c.place.removals("lines", c.key, c.units[unit]), columns, REMOVALS_SCHEMA)
    stays = ~(mostly | short)
    pieces = np.flatnonzero(goes & stays[of])
    reasons = [f"duplicate_{one}", f"boilerplate_{one}"]
    begin, end = sizes[pieces, BEGIN].astype(np.int64), sizes[pieces, END].astype(np.int64)
    if len(pieces):
        columns = {
            "position": positions[of[pieces]],
            "reason": pa.array(reasons, pa.string()).take(pa.array(verdict[pieces])),
            "begin": begin,
            "bytes": end - begin,
        }
        _write(c.place.cuts(c.key, c.units[unit]), columns, CUTS_SCHEMA)
    return {
        "edited": int((touched & stays).sum()),
        "removed": len(removed),
        **{name: int((verdict[pieces] == why).sum()) for why, name in enumerate(("duplicates_cut", "boilerplate_cut"))},
        "bytes_cut": int((end - begin).sum()),
    }


def _write(location: str, columns: dict[str, Any], schema: pa.Schema) -> None:
    with TableWriter(location, schema) as writer:
        writer.write(pa.record_batch(columns, schema=schema))
