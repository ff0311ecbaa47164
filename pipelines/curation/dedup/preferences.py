"""What documents are preferred by, of a unit's files, as numbers that sort: for documents and for lines the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.settings import Preference
from pipelines.curation.planning import Unit
from pipelines.curation.tables import batches
from pipelines.curation.workspace import Workspace

LAST = np.uint64(2**64 - 1)
_DATE_DIGITS = 18
"""Of a date: below the second, and below 2^63."""
_NAMES_AT_ONCE = 1 << 16


def ids(place: Workspace, unit: Unit, positions: NDArray[np.integer]) -> pa.Array:
    """The ids of documents that the rules keep, at rows of a unit's documents file."""
    columns = [pa.record_batch([[], []], schema=pa.schema([("position", pa.int64()), ("id", pa.string())]))]
    columns += batches(place.decisions(unit), ["position", "id"])
    table = pa.Table.from_batches(columns).combine_chunks()
    at = np.searchsorted(table["position"].to_numpy(), positions.astype(np.int64))
    return table["id"].take(pa.array(at)).combine_chunks()


def column(place: Workspace, unit: Unit, name: str, kind: pa.DataType) -> pa.Array:
    """What all documents of a unit have of a signal, or their dates."""
    location = place.documents(unit) if name == "date" else place.signals(unit)
    parts = []
    for batch in batches(location, ["date"] if name == "date" else None):
        known = name in batch.schema.names
        values = batch[name] if known else pa.nulls(batch.num_rows, kind)
        parts.append(pa.array(values.to_numpy(zero_copy_only=False), from_pandas=True) if name != "date" else values)
    return pa.concat_arrays([pa.array([], kind), *(part.cast(kind) for part in parts)])


def orders(
    place: Workspace,
    unit: Unit,
    positions: NDArray[np.integer],
    lengths: NDArray[np.integer],
    prefer: Sequence[Preference],
) -> Rows:
    """Numbers by which a unit's documents are ordered among those of all units, the least first.

    Dates are compared by their digits, so that those in ISO 8601's form are in order, whatever stands between the
    digits; a day is its midnight. A document without a value has `LAST`, whichever end is preferred.

    Args:
        positions: [n] rows of the unit's documents file, ascending.
        lengths: [n] bytes of text.

    Returns:
        uint64[n, preferences].
    """
    rows = pa.array(positions.astype(np.int64))
    found = np.empty((len(rows), len(prefer)), np.uint64)
    for number, one in enumerate(prefer):
        if one.by == "length":
            order = sortable(lengths.astype(np.float64))
        elif one.by == "date":
            order = _dates(column(place, unit, "date", pa.string()).take(rows))
        else:
            values = column(place, unit, one.by, pa.float64()).take(rows)
            order = sortable(values.to_numpy(zero_copy_only=False))
        found[:, number] = np.where(order == LAST, LAST, LAST - 1 - order) if one.first == "high" else order
    return found


def hashes(names: pa.StringArray) -> NDArray[np.uint64]:
    """uint64[n]: hashes of ids."""
    found = np.empty(len(names), np.uint64)
    for begin in range(0, len(names), _NAMES_AT_ONCE):
        part = names[begin : begin + _NAMES_AT_ONCE].to_pylist()
        found[begin : begin + len(part)] = [xxhash.xxh3_64_intdigest(name.encode()) for name in part]
    return found


def ranks(
    place: Workspace,
    unit: Unit,
    positions: NDArray[np.int64],
    names: pa.StringArray,
    lengths: NDArray[np.int64],
    prefer: Sequence[Preference],
) -> Rows:
    """uint64[n, preferences + 1]: `orders`, then a hash of the id that breaks ties.

    Args:
        positions: see `orders`.
        names: their ids.
        lengths: see `orders`.
    """
    return np.concatenate([orders(place, unit, positions, lengths, prefer), hashes(names)[:, None]], axis=1)


def sortable(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Numbers below 2^64 - 1 in the order of the values, equal ones for equal values; `LAST` for NaN."""
    bits = (values + 0.0).view(np.uint64)
    sign = np.uint64(1 << 63)
    ordered = np.where(bits & sign, ~bits, bits | sign)
    return np.where(np.isnan(values), LAST, ordered)


def _dates(dates: pa.Array) -> NDArray[np.uint64]:
    digits = pc.utf8_slice_codeunits(pc.replace_substring_regex(dates, r"[^0-9]+", ""), 0, _DATE_DIGITS)
    known = pc.fill_null(pc.not_equal(digits, ""), False).to_numpy(zero_copy_only=False)
    numbers = pc.utf8_rpad(pc.if_else(pa.array(known), digits, "0"), _DATE_DIGITS, "0").cast(pa.int64())
    return np.where(known, numbers.to_numpy().astype(np.uint64), LAST)
