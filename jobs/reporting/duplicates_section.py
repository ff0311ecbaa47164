"""The report's section on duplicates: how many, in what clusters, and pairs side by side."""

from __future__ import annotations

import difflib
import re
from typing import Any

from jobs.reporting.charts import bars
from jobs.reporting.markup import Html, count, join, percent, table, tag

_NAMES = {"near_dedup": ("Near", 6), "exact_dedup": ("Exact", 2)}
"""Stage -> its word, and how many pairs are shown."""
_PIECES = re.compile(r"\s+|[^\W_]+|.", re.DOTALL)


def duplicates(summary: dict[str, Any]) -> Html | None:
    """What the comparison of the whole corpus found."""
    record = (summary["funnel"] or {}).get("duplicates")
    if not record:
        return None
    removed, compared = record["removed"], record["documents"]
    lede = (
        f"{compared:,} documents were compared; {removed:,} ({percent(removed, compared)}) are copies, in "
        f"{record['clusters']:,} clusters of which one document each stayed."
    )
    parts = [tag("p", lede)]
    if record["clusters"]:
        parts.append(tag("div", _sizes(record), _largest(record), class_="two"))
    pairs = record["pairs"]
    for stage, (name, shown) in _NAMES.items():
        own = [pair for pair in pairs if pair["stage"] == stage and pair["texts"][1] is not None][:shown]
        if own:
            title = tag("summary", f"{name} copies side by side: {len(own)} pairs")
            parts.append(tag("details", title, *map(_pair, own), open="open" if stage == "near_dedup" else None))
    lines = (summary["funnel"] or {}).get("lines")
    if lines:
        parts += _lines(lines)
    return join(parts)


def _lines(record: dict[str, Any]) -> list[Html]:
    """Lines or paragraphs that several documents have."""
    name, cut = record["by"], record["duplicates_cut"] + record["boilerplate_cut"]
    lede = (
        f"{record['segments']:,} {name} of {record['documents']:,} documents were long enough to be compared. "
        f"{cut:,} of them had been there before and were cut out of {record['edited']:,} documents that stay; "
        f"{record['removed']:,} documents lost too much and went."
    )
    parts = [tag("h3", f"{name.capitalize()} across documents"), tag("p", lede)]
    if record["most"]:
        rows = [[each["text"], count(each["documents"])] for each in record["most"]]
        title = tag("summary", f"The {name} that most documents have")
        parts.append(tag("details", title, table([name, "documents"], rows)))
    return parts


def _sizes(record: dict[str, Any]) -> Html:
    rows = []
    for least, clusters in record["sizes"].items():
        most = 2 * int(least) - 1
        name = f"{least} documents" if most == int(least) else f"{least} to {most} documents"
        rows.append((name, float(clusters), count(clusters)))
    return tag("figure", bars(rows, width=420), tag("figcaption", "Clusters by their size."))


def _largest(record: dict[str, Any]) -> Html:
    rows = [[tag("code", cluster["kept"]), count(cluster["documents"])] for cluster in record["largest"][:6]]
    return tag("div", table(["largest clusters: what stayed", "documents"], rows))


def _pair(pair: dict[str, Any]) -> Html:
    removed, kept = differences(*pair["texts"])
    score = f" · estimated similarity {pair['score']:.2f}" if pair["score"] is not None else ""
    one = tag("span", f"removed: {pair['removed']}{score}", class_="quiet")
    two = tag("span", f"stayed: {pair['kept']}", class_="quiet")
    sides = [tag("div", name, tag("div", text, class_="text")) for name, text in ((one, removed), (two, kept))]
    return tag("div", *sides, class_="two sample")


def differences(one: str, two: str) -> tuple[Html, Html]:
    """Both texts with the words marked that the other has not."""
    left, right = _PIECES.findall(one), _PIECES.findall(two)
    marked: tuple[list[object], list[object]] = ([], [])
    for kind, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for side, piece in zip(marked, ("".join(left[a:b]), "".join(right[c:d])), strict=True):
            if piece:
                side.append(piece if kind == "equal" else tag("mark", piece))
    return join(marked[0]), join(marked[1])
