"""Texts without the lines that a rule drops, and the account of these lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.buffers import BYTES, code_point, texts_of, utf8
from pipelines.curation.documents import EXCERPT_CHARACTERS, SPAN_SCHEMA
from pipelines.curation.lines.table import Lines
from pipelines.curation.signals.characters import SPACE, tables
from pipelines.kernels import njit

STAYS = -1
"""In a rule's reason for each line: the line stays."""


def assemble(
    texts: pa.LargeStringArray, lines: Lines, reason: NDArray[np.int8], cut_citations: bool, paragraphs: bool = True
) -> pa.LargeStringArray:
    """The lines that stay, without white space at their ends, at most one blank line between two.

    Args:
        reason: (m,) STAYS, or why a line goes. Blank lines hold paragraphs apart and always stay.
        cut_citations: leave out citation marks.
        paragraphs: False: blank lines go too, and with them the borders of paragraphs.

    Returns:
        (n,) texts; null where nothing was dropped or cut.
    """
    offsets, data = utf8(texts)
    classes, _ = tables()
    # Never longer than the texts: each break that is written stands for one that was there.
    out = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint8)
    ends = np.zeros(len(texts) + 1, np.int64)
    changed = np.zeros(len(texts), np.bool_)
    marks = lines.citations if cut_citations else lines.citations[:0]
    write_lines(data, classes, lines.row, lines.begin, lines.end, reason, marks, paragraphs, out, ends, changed)
    return pc.if_else(pa.array(changed), texts_of(ends, out), pa.scalar(None, pa.large_string()))


@njit(
    f"void({BYTES}, uint8[::1], int64[::1], int64[::1], int64[::1], int8[::1],"
    " int64[:, ::1], boolean, uint8[::1], int64[::1], boolean[::1])",
    cache=True,
    nogil=True,
)
def write_lines(
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    row: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    reason: NDArray[np.int8],
    citations: NDArray[np.int64],
    paragraphs: bool,
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
    changed: NDArray[np.bool_],
) -> None:
    """Write what stays of all texts; text t is `out[ends[t]:ends[t + 1]]`."""
    size = c = 0
    start = 0
    blank = False
    t = -1
    for m in range(len(row)):
        if row[m] != t:
            t = row[m]
            start = size
            ends[t] = size
            blank = False
        while c < len(citations) and citations[c, 0] < m:
            c += 1
        if reason[m] != STAYS:
            changed[t] = True
            continue
        written = size
        if size > start:
            out[size] = 0x0A
            size += 1
            if blank and paragraphs:
                out[size] = 0x0A
                size += 1
        content = size
        kept = size
        i = begin[m]
        while i < end[m]:
            if c < len(citations) and citations[c, 0] == m and citations[c, 1] == i:
                i = citations[c, 2]
                c += 1
                changed[t] = True
                continue
            p, n = code_point(data, i)
            space = n < 4 and (classes[p] & SPACE) != 0
            if space and size == content:
                i += n
                continue
            for k in range(n):
                out[size + k] = data[i + k]
            size += n
            i += n
            if not space:
                kept = size
        size = kept
        if kept == content:
            size = written
            blank = True
        else:
            blank = False
    ends[len(ends) - 1] = size


def spans(
    texts: pa.LargeStringArray,
    lines: Lines,
    reason: NDArray[np.int8],
    names: Sequence[str],
    cut_citations: bool,
    stays: NDArray[np.bool_],
) -> pa.Table:
    """Rows of `SPAN_SCHEMA` for the texts that stay: neighbouring lines dropped for one reason are one span."""
    offsets, data = utf8(texts)
    gone = np.flatnonzero((reason != STAYS) & stays[lines.row])
    found: list[tuple[int, int, int, str]] = []
    if len(gone):
        apart = (np.diff(gone) != 1) | (np.diff(lines.row[gone]) != 0) | (np.diff(reason[gone]) != 0)
        firsts = gone[np.r_[True, apart]]
        lasts = gone[np.r_[apart, True]]
        columns = (lines.row[firsts], lines.begin[firsts], lines.end[lasts], reason[firsts])
        found = [
            (row, begin, end, names[why])
            for row, begin, end, why in zip(*(column.tolist() for column in columns), strict=True)
        ]
    if cut_citations and len(lines.citations):
        marks = lines.citations
        kept = (reason[marks[:, 0]] == STAYS) & stays[lines.row[marks[:, 0]]]
        rows = lines.row[marks[kept, 0]].tolist()
        bounds = marks[kept, 1:].tolist()
        found += [(row, begin, end, "citation") for row, (begin, end) in zip(rows, bounds, strict=True)]
        found.sort()
    view = data.data
    first = offsets.tolist()
    whole = 4 * EXCERPT_CHARACTERS
    return pa.table(
        {
            "row": [row for row, _, _, _ in found],
            "reason": [why for _, _, _, why in found],
            "begin": [begin - first[row] for row, begin, _, _ in found],
            "bytes": [end - begin for _, begin, end, _ in found],
            "text": [
                str(view[begin : min(end, begin + whole)], "utf-8", "ignore")[:EXCERPT_CHARACTERS]
                for _, begin, end, _ in found
            ],
        },
        schema=SPAN_SCHEMA,
    )
