"""What a unit's documents are compared by: keys, sketches and lengths of the texts as the rules left them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.curation.dedup import exchange
from pipelines.curation.dedup.exchange import Rows
from pipelines.curation.dedup.minhash import SKETCH_WORDS, MinHash
from pipelines.curation.dedup.settings import NearDuplicates
from pipelines.curation.keys import text_keys

POSITION, LENGTH, HIGH, LOW = range(4)
_FIXED = 4


class Signed(NamedTuple):
    """n documents."""

    positions: NDArray[np.uint64]
    """[n] rows of the unit's documents file, ascending."""
    lengths: NDArray[np.uint64]
    """[n] bytes of text."""
    keys: Rows
    """[n, 2] halves of the 128-bit keys of the texts."""
    bands: Rows
    """[n, b]; b is 0 where no near duplicates are looked for."""
    sketches: Rows
    """[n, 4], or [n, 0]."""


def sign(
    texts: Iterator[tuple[NDArray[np.int64], pa.StringArray, pa.LargeStringArray]],
    near: NearDuplicates | None,
    location: str,
) -> int:
    """Write what the texts are compared by; returns how many there are.

    Args:
        texts: positions, ids and texts, in batches.
        near: None for exact duplicates alone.
    """
    hasher = MinHash(near) if near is not None else None
    parts = [np.zeros((0, width(near)), np.uint64)]
    for positions, _, batch in texts:
        columns = [
            positions.astype(np.uint64)[:, None],
            pc.binary_length(batch).to_numpy().astype(np.uint64)[:, None],
            np.frombuffer(b"".join(text_keys(batch)), ">u8").reshape(-1, 2).astype(np.uint64),
        ]
        if hasher is not None:
            signatures = hasher.signatures(batch)
            columns += [hasher.keys_of(signatures), hasher.sketches(signatures)]
        parts.append(np.concatenate(columns, axis=1))
    rows = np.concatenate(parts)
    exchange.write(location, [np.ascontiguousarray(rows, "<u8").data])
    return len(rows)


def width(near: NearDuplicates | None) -> int:
    """Numbers a document."""
    return _FIXED + (near.shape[0] + SKETCH_WORDS if near is not None else 0)


def signed(location: str, near: NearDuplicates | None) -> Signed:
    """What `sign` wrote."""
    rows = exchange.read_rows([location], 0, width(near))
    bands = near.shape[0] if near is not None else 0
    return Signed(
        rows[:, POSITION],
        rows[:, LENGTH],
        rows[:, HIGH : LOW + 1],
        rows[:, _FIXED : _FIXED + bands],
        rows[:, _FIXED + bands :],
    )
