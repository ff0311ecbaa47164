"""The texts without the segments that go, and the account of these.

Lines that stay are as they were. Where lines went, what stood before and behind them is parted by the larger of the
gaps (breaks and blank lines) there: a border of paragraphs stays one, and no gap grows. Nothing parts a text's begin
from its first line that is left, and behind the last one is what was behind the last line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.buffers import BYTES, OFFSETS, texts_of, utf8
from pipelines.curation.dedup.lines.segments import blank
from pipelines.curation.documents import EXCERPT_CHARACTERS, SPANS_SCHEMA
from pipelines.curation.signals.characters import tables
from pipelines.curation.tables import batches
from pipelines.kernels import njit

STAGE = "line_dedup"

CUTS_SCHEMA = pa.schema(
    [("position", pa.int64()), ("reason", pa.string()), ("begin", pa.int64()), ("bytes", pa.int64())]
)
"""What is cut out of a unit's documents, ascending: their rows in the unit's documents file, why, and UTF-8 offset and
length in the text that earlier stages left."""


class Cuts:
    """What is cut out of a unit's documents.

    Args:
        locations: of rows of `CUTS_SCHEMA`: none, or one.
    """

    def __init__(self, locations: Sequence[str]) -> None:
        rows = (batch for location in locations for batch in batches(location))
        self._rows = pa.Table.from_batches(rows, schema=CUTS_SCHEMA).combine_chunks()
        self._positions = self._rows["position"].to_numpy()

    def apply(
        self, ids: pa.Array, positions: NDArray[np.int64], texts: pa.LargeStringArray
    ) -> tuple[pa.LargeStringArray, pa.RecordBatch]:
        """The texts of some documents without what goes, and rows of `SPANS_SCHEMA` for that.

        Args:
            positions: int64[n] their rows in the unit's documents file, ascending.
            texts: as earlier stages left them.
        """
        first, end = np.searchsorted(self._positions, (positions[0], positions[-1] + 1)) if len(positions) else (0, 0)
        rows = self._rows.slice(first, end - first).combine_chunks()
        row = np.searchsorted(positions, self._positions[first:end])
        begin, size = rows["begin"].to_numpy(), rows["bytes"].to_numpy()
        touched, within = np.unique(row, return_inverse=True)
        touched_texts = texts.take(pa.array(touched))
        columns = [
            ids.take(pa.array(row)),
            pa.array([STAGE] * len(row), pa.string()),
            rows["reason"].combine_chunks(),
            rows["begin"].combine_chunks(),
            rows["bytes"].combine_chunks(),
            _excerpts(touched_texts, within, begin, size),
        ]
        spans = pa.record_batch(columns, schema=SPANS_SCHEMA)
        if not len(row):
            return texts, spans
        mask = np.zeros(len(texts), bool)
        mask[touched] = True
        left = without(touched_texts, within, begin, begin + size)
        return pc.replace_with_mask(texts, pa.array(mask), left), spans


def _excerpts(
    texts: pa.LargeStringArray, row: NDArray[np.int64], begin: NDArray[np.int64], size: NDArray[np.int64]
) -> pa.Array:
    """The first characters of pieces of texts."""
    offsets, data = utf8(texts)
    view, begins = data.data, offsets[row] + begin
    ends = begins + np.minimum(size, 4 * EXCERPT_CHARACTERS)
    pieces = [
        str(view[one:end], "utf-8", "ignore")[:EXCERPT_CHARACTERS]
        for one, end in zip(begins.tolist(), ends.tolist(), strict=True)
    ]
    return pa.array(pieces, pa.string())


def without(
    texts: pa.LargeStringArray, row: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64]
) -> pa.LargeStringArray:
    """The texts without the lines that begin in pieces of them.

    Args:
        row: int64[m] the text of each piece, ascending.
        begin: int64[m] byte in the text at which it begins, ascending within a text.
        end: int64[m] and ends.
    """
    offsets, data = utf8(texts)
    classes, _ = tables()
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    ends = np.zeros(len(texts) + 1, np.int64)
    write(offsets, data, classes, row, begin, end, out, ends)
    return texts_of(ends, out)


@njit(f"int64({BYTES}, int64, int64, uint8[::1], int64)", cache=True, nogil=True)
def copy(data: NDArray[np.uint8], begin: int, end: int, out: NDArray[np.uint8], size: int) -> int:
    """Append bytes to the first `size` of `out`; returns how many there are then."""
    for i in range(begin, end):
        out[size] = data[i]
        size += 1
    return size


@njit(
    f"void({OFFSETS}, {BYTES}, uint8[::1], {OFFSETS}, {OFFSETS}, {OFFSETS}, uint8[::1], int64[::1])",
    cache=True,
    nogil=True,
)
def write(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    row: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    """Write what is left of all texts; text t is `out[ends[t]:ends[t + 1]]`."""
    size = c = 0
    for t in range(len(offsets) - 1):
        first, stop = offsets[t], offsets[t + 1]
        # Of the last line that stays: where its content ends, and its break. Nothing stayed: both are the text's begin.
        content = broken = first
        stayed = hole = False
        # Blank lines since then: the run that we are in, and the longest between lines that went.
        run = gap = gap_end = first
        blanks = most = 0
        i = first
        while i <= stop:
            line = i
            while i < stop and data[i] != 0x0A:
                i += 1
            following = min(i + 1, stop)
            while c < len(row) and row[c] == t and first + end[c] <= line:
                c += 1
            goes = c < len(row) and row[c] == t and first + begin[c] <= line
            if not goes and blank(data, classes, line, i):
                blanks += 1
            else:
                if blanks > most:
                    most, gap, gap_end = blanks, run, line
                if goes:
                    hole = True
                else:
                    if not hole:
                        size = copy(data, content, line, out, size)
                    elif stayed:
                        size = copy(data, content, broken, out, size)
                        size = copy(data, gap, gap_end, out, size)
                    content = i
                    if i > line and data[i - 1] == 0x0D:
                        content -= 1
                    broken = following
                    size = copy(data, line, content, out, size)
                    stayed, hole = True, False
                    most, gap, gap_end = 0, first, first
                run, blanks = following, 0
            i += 1
        if not hole:
            size = copy(data, content, stop, out, size)
        elif stayed and blanks:
            size = copy(data, content, broken, out, size)
            size = copy(data, run, stop, out, size)
        while c < len(row) and row[c] == t:
            c += 1
        ends[t + 1] = size
