"""Charts as inline SVG: curves, points and bars, drawn with the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.reporting.markup import Html, short, tag

_WIDTH, _HEIGHT = 640.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 118.0, 14.0, 42.0
_LABEL_DISTANCE = 15.0


@dataclass(frozen=True)
class Series:
    """Points joined by a line; `marks` draws each point too. `colour` is 1 to 6."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 1
    marks: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line to compare with."""

    name: str
    value: float


@dataclass(frozen=True)
class Point:
    """One trial or case: `note` is shown on hovering, `hollow` draws a ring, `ring` a second one around it."""

    x: float
    y: float
    note: str
    colour: int = 1
    hollow: bool = False
    ring: bool = False


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((value - low) / (high - low) if high > low else 0.5)


def curves(
    series: Sequence[Series], x_name: str, y_name: str, levels: Sequence[Level] = (), width: float = _WIDTH
) -> Html:
    """Lines over a common axis, each named at its end, with levels dashed across.

    A curve's first tenth may lie outside the picture, so that the rest can be told apart.
    """
    shown = [each for each in series if each.points]
    xs = [x for each in shown for x, _ in each.points]
    ys = [y for each in shown for _, y in each.points] + [level.value for level in levels]
    if not xs:
        return tag("p", "No points.", class_="missing")
    x, y = _x_scale(min(xs), max(xs), width), _y_scale(_without_first_peak(shown, levels) or ys)
    parts = [*_axes(x, y, x_name, y_name)]
    names: list[tuple[float, str, str]] = []
    for level in levels:
        at = y.at(level.value)
        parts.append(tag("line", x1=_n(x.start), x2=_n(x.end), y1=_n(at), y2=_n(at), class_="level"))
        names.append((at, f"{level.name} {level.value:.2f}", "level"))
    for each in shown:
        path = " ".join(f"{_n(x.at(px))},{_n(y.at(py))}" for px, py in each.points if y.low <= py <= y.high)
        parts.append(tag("polyline", points=path, class_=f"line c{each.colour}"))
        last = each.points[-1]
        if each.marks:
            parts += [
                tag(
                    "circle",
                    tag("title", f"{short(px)}: {py:.3f}"),
                    cx=_n(x.at(px)),
                    cy=_n(y.at(py)),
                    r=3,
                    class_=f"dot c{each.colour}",
                )
                for px, py in each.points
                if y.low <= py <= y.high
            ]
        names.append((y.at(last[1]), f"{each.name} {last[1]:.2f}", f"name c{each.colour}"))
    parts += _names(names, x.end + 8)
    return _svg(parts, f"{y_name} over {x_name}", width=width)


def points(cases: Sequence[Point], x_name: str, y_name: str, legend: Sequence[tuple[str, int]] = ()) -> Html:
    """Cases over a logarithmic axis."""
    usable = [case for case in cases if case.x > 0 and math.isfinite(case.y)]
    if not usable:
        return tag("p", "No points.", class_="missing")
    xs = [case.x for case in usable]
    x = _Scale(min(xs) / 1.25, max(xs) * 1.25, _LEFT, _WIDTH - _RIGHT, log=True)
    y = _y_scale([case.y for case in usable])
    parts = [*_axes(x, y, x_name, y_name)]
    for case in usable:
        place = {"cx": _n(x.at(case.x)), "cy": _n(y.at(case.y))}
        kind = "ringed" if case.hollow else "dot"
        parts.append(tag("circle", tag("title", case.note), r=5, class_=f"{kind} c{case.colour}", **place))
        if case.ring:
            parts.append(tag("circle", r=10, class_=f"ringed c{case.colour}", **place))
    for i, (name, colour) in enumerate(legend):
        at = _TOP + 10 + i * 18
        parts.append(tag("circle", cx=_n(_WIDTH - _RIGHT + 14), cy=_n(at - 4), r=5, class_=f"dot c{colour}"))
        parts.append(tag("text", name, x=_n(_WIDTH - _RIGHT + 24), y=_n(at), class_="tick"))
    return _svg(parts, f"{y_name} over {x_name}")


def bars(rows: Sequence[tuple[str, float, str]], colour: int = 1, left: float = 150.0, width: float = _WIDTH) -> Html:
    """Horizontal bars: name, length, and what is written at the end."""
    step = 26.0
    longest = max((value for _, value, _ in rows), default=0.0) or 1.0
    room = width - left - 96
    parts = []
    for i, (name, value, words) in enumerate(rows):
        top = i * step
        length = max(1.0, room * value / longest)
        parts.append(tag("text", name, x=_n(left - 10), y=_n(top + 17), class_="tick end"))
        parts.append(
            tag("rect", x=_n(left), y=_n(top + 4), width=_n(length), height=18, rx=2, class_=f"block c{colour}")
        )
        parts.append(tag("text", words, x=_n(left + length + 8), y=_n(top + 17), class_="tick strong"))
    return _svg(parts, "bars", height=step * len(rows) + 4, width=width)


@dataclass(frozen=True)
class Step:
    """One step of a funnel: what is left after it, what it removed, and its name."""

    name: str
    left: float
    removed: float


def funnel(start: float, steps: Sequence[Step], last: str, width: float = 500.0) -> Html:
    """Documents that are left after each step, with what the step removed as the lighter end of its bar."""
    height, left = 26.0, 140.0
    room = width - left - 70
    rows = [("read", start, 0.0, "block c1"), *((step.name, step.left, step.removed, "block c1") for step in steps)]
    parts = []
    for i, (name, remains, removed, class_) in enumerate(rows):
        top = i * height
        kept, gone = room * remains / start if start else 0, room * removed / start if start else 0
        parts.append(tag("text", name, x=_n(left - 10), y=_n(top + 17), class_="tick end"))
        parts.append(tag("rect", x=_n(left), y=_n(top + 4), width=_n(max(kept, 0.5)), height=18, class_=class_))
        if removed:
            parts.append(
                tag("rect", x=_n(left + kept), y=_n(top + 4), width=_n(max(gone, 0.8)), height=18, class_="block gone")
            )
        words = f"{remains:,.0f}" if i == 0 else f"−{removed:,.0f}"
        parts.append(tag("text", words, x=_n(left + kept + gone + 8), y=_n(top + 17), class_="tick strong"))
    top = len(rows) * height
    kept = room * (rows[-1][1] / start if start else 0)
    parts.append(tag("text", last, x=_n(left - 10), y=_n(top + 17), class_="tick end strong"))
    parts.append(tag("rect", x=_n(left), y=_n(top + 4), width=_n(kept), height=18, class_="block c2"))
    parts.append(tag("text", f"{rows[-1][1]:,.0f}", x=_n(left + kept + 8), y=_n(top + 17), class_="tick strong"))
    return _svg(parts, "documents left after each step", height=top + height, width=width)


@dataclass(frozen=True)
class Span:
    """A stretch of a row: where it begins and ends, what it is (a class of style.css), and what hovering says."""

    start: float
    end: float
    kind: str
    note: str


def spans(
    rows: Sequence[tuple[str, Sequence[Span], str]],
    x_name: str,
    legend: Sequence[tuple[str, str]],
    width: float = 900.0,
) -> Html:
    """Rows of stretches over one axis: name, stretches, words at the end; a legend (name, class) above."""
    step, left, top = 26.0, 110.0, 26.0
    high = max((span.end for _, stretches, _ in rows for span in stretches), default=1.0)
    x = _Scale(0.0, high, left, width - 190.0)
    bottom = top + step * len(rows)
    parts, at = [], left
    for name, kind in legend:
        parts.append(tag("rect", x=_n(at), y=4, width=12, height=12, class_=f"block {kind}"))
        parts.append(tag("text", name, x=_n(at + 17), y=14, class_="tick"))
        at += 36 + 6.5 * len(name)
    for i, (name, stretches, words) in enumerate(rows):
        y = top + i * step
        parts.append(tag("text", name, x=_n(left - 10), y=_n(y + 17), class_="tick end"))
        for span in stretches:
            wide = max(1.5, x.at(span.end) - x.at(span.start))
            block = tag("title", span.note)
            place = {"x": _n(x.at(span.start)), "y": _n(y + 4), "width": _n(wide), "height": 18}
            parts.append(tag("rect", block, class_=f"block {span.kind}", **place))
        end = max((x.at(span.end) for span in stretches), default=left)
        parts.append(tag("text", words, x=_n(end + 8), y=_n(y + 17), class_="tick strong"))
    for value in _ticks(0.0, high, 8):
        parts.append(
            tag("line", x1=_n(x.at(value)), x2=_n(x.at(value)), y1=_n(bottom), y2=_n(bottom + 5), class_="axis")
        )
        parts.append(tag("text", short(value), x=_n(x.at(value)), y=_n(bottom + 18), class_="tick middle"))
    parts.append(tag("line", x1=_n(x.start), x2=_n(x.end), y1=_n(bottom), y2=_n(bottom), class_="axis"))
    parts.append(tag("text", x_name, x=_n((x.start + x.end) / 2), y=_n(bottom + 35), class_="label middle"))
    return _svg(parts, f"stretches over {x_name}", height=bottom + 40, width=width)


def _svg(parts: Sequence[Html], name: str, height: float = _HEIGHT, width: float = _WIDTH) -> Html:
    style = f"max-width:{1.12 * width:.0f}px;min-width:{0.75 * width:.0f}px"
    drawing = tag("svg", *parts, viewBox=f"0 0 {_n(width)} {_n(height)}", role="img", aria_label=name, style=style)
    return tag("div", drawing, class_="chart")


def _axes(x: _Scale, y: _Scale, x_name: str, y_name: str) -> list[Html]:
    parts = []
    for value in _ticks(y.low, y.high):
        across = _n(y.at(value))
        parts.append(tag("line", x1=_n(x.start), x2=_n(x.end), y1=across, y2=across, class_="grid"))
        parts.append(tag("text", f"{value:g}", x=_n(x.start - 8), y=_n(y.at(value) + 4), class_="tick end"))
    for value in _log_ticks(x.low, x.high) if x.log else _ticks(x.low, x.high, 5):
        at = x.at(value)
        words = _power(value) if x.log else short(value)
        parts.append(tag("line", x1=_n(at), x2=_n(at), y1=_n(y.start), y2=_n(y.start + 5), class_="axis"))
        parts.append(tag("text", words, x=_n(at), y=_n(y.start + 19), class_="tick middle"))
    parts.append(tag("line", x1=_n(x.start), x2=_n(x.end), y1=_n(y.start), y2=_n(y.start), class_="axis"))
    parts.append(tag("text", x_name, x=_n((x.start + x.end) / 2), y=_n(y.start + 37), class_="label middle"))
    middle = f"translate(12 {_n((y.start + y.end) / 2)}) rotate(-90)"
    parts.append(tag("text", y_name, transform=middle, class_="label middle"))
    return parts


def _names(names: Sequence[tuple[float, str, str]], at: float) -> list[Html]:
    """Labels at the right edge, moved apart where they would cover each other."""
    placed: list[tuple[float, str, str]] = []
    for y, words, class_ in sorted(names):
        y = max(y, placed[-1][0] + _LABEL_DISTANCE) if placed else y
        placed.append((y, words, class_))
    overflow = max(0.0, placed[-1][0] - (_HEIGHT - _BOTTOM + 4)) if placed else 0.0
    return [tag("text", words, x=_n(at), y=_n(y - overflow + 4), class_=class_) for y, words, class_ in placed]


def _without_first_peak(series: Sequence[Series], levels: Sequence[Level]) -> list[float]:
    """Values that the vertical axis must show."""
    values = [level.value for level in levels]
    for each in series:
        ys = [y for _, y in each.points]
        values += ys[len(ys) // 10 :] if len(ys) >= 20 else ys
    return values


def _x_scale(low: float, high: float, width: float) -> _Scale:
    first = min(0.0, low) if low < high / 3 else low
    return _Scale(first, high if high > first else first + 1, _LEFT, width - _RIGHT)


def _y_scale(values: Sequence[float]) -> _Scale:
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return _Scale(low - margin, high + margin, _HEIGHT - _BOTTOM, _TOP)


def _ticks(low: float, high: float, about: int = 6) -> list[float]:
    if high <= low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**p for p in powers for m in (1, 2, 5)]
    return [value for value in found if low <= value <= high]


def _power(value: float) -> str:
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value < 0.01 else f"{value:g}"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
