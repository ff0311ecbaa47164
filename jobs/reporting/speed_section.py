"""The report's section on speed: tokens a second, where steps' time went, how old checkpoints grew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.reporting.charts import Series, bars, curves
from jobs.reporting.markup import Html, clock, join, percent, table, tag

_HALF = 500.0
_WORDS = {"data": "waiting for data", "forward_backward": "forward, backward", "workers": "waiting for workers"}
_MOST_PHASES = 8


def phases(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds by phase over all lines of a run's metrics.

    Args:
        rows: of metrics.jsonl.
    """
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row.get("phase_seconds") or {})
    return {name: round(seconds, 3) for name, seconds in total.most_common()}


def speed(summary: dict[str, Any]) -> Html | None:
    """Every training's speed, its steps' phases, and its checkpoints' ages."""
    parts = [part for name, record in summary["training"].items() if record for part in _training(name, record)]
    return join(parts) if parts else None


def _training(name: str, record: dict[str, Any]) -> list[Html]:
    rates = [
        (row.get("tokens", row["step"]), row["tokens_per_second"] / 1000)
        for row in record["curve"]
        if row.get("tokens_per_second") is not None
    ]
    figures = []
    if len(rates) > 1:
        drawn = curves([Series("", rates, 1)], "tokens", "thousand tokens a second", width=_HALF)
        figures.append(tag("figure", drawn, tag("figcaption", "Without validation and checkpoints.")))
    found = list((record.get("phases") or {}).items())[:_MOST_PHASES]
    if found:
        whole = sum(seconds for _, seconds in found) or 1.0
        shares = [
            (_WORDS.get(phase, phase.replace("_", " ")), seconds, f"{seconds:,.1f} s, {percent(seconds, whole)}")
            for phase, seconds in found
        ]
        figures.append(tag("figure", bars(shares, colour=5, width=_HALF), tag("figcaption", "Rank 0's time by phase.")))
    told: dict[str, Any] = record.get("timeline") or {"attempts": []}
    saved = [place for attempt in told["attempts"] for place in attempt["checkpoints"]]
    if saved:
        drawn = curves([Series("", ages(told["attempts"]), 3)], "seconds", "a checkpoint's age, s", width=_HALF)
        figures.append(tag("figure", drawn, tag("figcaption", "Work that a crash at this moment would cost.")))
    if not figures:
        return []
    parts = [tag("h3", name), tag("div", *figures, class_="two")]
    if saved:
        blocked = told["figures"]["blocked_seconds"]
        oldest = max(age for _, age in ages(told["attempts"]))
        head = ["checkpoints", "the oldest grew to", "steps waited for them", "of all time"]
        share = percent(blocked, told["figures"]["wall_seconds"])
        parts.append(table(head, [[str(len(saved)), clock(oldest), f"{blocked:.1f} s", share]], words=0))
    return parts


def ages(attempts: Iterable[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(seconds, age) where a newest checkpoint's age turns: it grows until the next one is begun, or all begins anew.

    Before the first one, it is the time since training began.

    Args:
        attempts: of a timeline's record, in order.
    """
    points: list[tuple[float, float]] = []
    for attempt in attempts:
        since = attempt["began"]
        points.append((since, 0.0))
        for at, _ in attempt["checkpoints"]:
            points += [(at, at - since), (at, 0.0)]
            since = at
        points.append((attempt["ended"], max(0.0, attempt["ended"] - since)))
    return points
