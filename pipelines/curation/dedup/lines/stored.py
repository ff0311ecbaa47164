"""What a unit's documents are compared by line by line: a file of three slices, so that each is read when needed.

Slice 0: uint64 [n, 4 + r], a row a document; 1: uint64 [m], the keys of all segments; 2: uint32 [m, 4], their sizes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.curation.dedup import exchange, preferences
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.lines.segments import segments
from pipelines.curation.dedup.settings import LineDuplicates, Preference
from pipelines.curation.planning import Unit
from pipelines.curation.workspace import Workspace

POSITION, SEGMENTS, CHARACTERS, WORDS, RANK = range(5)
"""Columns of documents: the row in the unit's documents file, how many segments have words enough, what all segments
together hold, and from here on the rank (see `preferences.ranks`)."""


def store(
    texts: Iterator[tuple[NDArray[np.int64], pa.StringArray, pa.LargeStringArray]],
    settings: LineDuplicates,
    prefer: tuple[Preference, ...],
    place: Workspace,
    unit: Unit,
) -> tuple[int, int]:
    """Cut a unit's documents into segments; returns how many documents and segments there are.

    Args:
        texts: their positions, ids and texts, in batches.
        settings: what a segment is.
        prefer: what documents are ordered by.
        place: the curation's files.
        unit: whose documents they are.
    """
    columns, lengths = [np.zeros((0, RANK), np.int64)], [np.zeros(0, np.int64)]
    names, keys, sizes = [pa.array([], pa.string())], [np.zeros(0, np.uint64)], [np.zeros((0, 4), np.uint32)]
    for positions, ids, batch in texts:
        found = segments(batch, settings.by == "paragraphs", settings.min_words)
        columns.append(np.concatenate([np.stack([positions, np.diff(found.ends)], axis=1), found.totals], axis=1))
        names.append(ids)
        lengths.append(pc.binary_length(batch).to_numpy())
        keys.append(found.keys)
        sizes.append(found.sizes)
    counted = np.concatenate(columns)
    ids, positions = pa.concat_arrays(names), counted[:, POSITION]
    ranks = preferences.ranks(place, unit, positions, ids, np.concatenate(lengths), prefer)
    documents = np.concatenate([counted.astype(np.uint64), ranks], axis=1)
    slices = [documents.astype("<u8"), np.concatenate(keys).astype("<u8"), np.concatenate(sizes).astype("<u4")]
    exchange.write(place.segments(unit), [part.reshape(-1).data for part in slices])
    return len(documents), len(slices[1])


def documents(location: str, ranks: int) -> Rows:
    """[n, 4 + r]."""
    return np.frombuffer(exchange.read(location, 0), "<u8").reshape(-1, RANK + ranks)


def keys(location: str) -> NDArray[np.uint64]:
    """[m], document by document."""
    return np.frombuffer(exchange.read(location, 1), "<u8")


def sizes(location: str) -> NDArray[np.uint32]:
    """[m, 4]: see `segments.Segments`."""
    return np.frombuffer(exchange.read(location, 2), "<u4").reshape(-1, 4)
