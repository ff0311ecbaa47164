"""HTML built from Python values: whatever is not `Html` already is escaped, so texts of a corpus stay texts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_VOID = {"meta", "br", "hr", "img", "col"}


class Html(str):
    """Markup that is safe as it is."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Children that are no `Html` are escaped; `class_` and `data_x` lose or turn their underscores.

    An attribute that is None or False is left out.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{words}/>")
    return Html(f"<{name}{words}>{join(children)}</{name}>")


def join(children: Iterable[object], between: str = "") -> Html:
    """Children one after the other, escaped where they are not `Html`; None is nothing."""
    return Html(
        between.join(
            child if isinstance(child, Html) else html.escape(str(child), quote=False)
            for child in children
            if child is not None
        )
    )


def table(head: Sequence[object], rows: Iterable[Sequence[object]], words: int = 1, class_: str = "") -> Html:
    """A table in a box that scrolls sideways; the first `words` columns are text, the others figures."""

    def cells(name: str, row: Sequence[object]) -> Html:
        return tag("tr", *(tag(name, cell, class_=None if i < words else "n") for i, cell in enumerate(row)))

    body = join(cells("td", row) for row in rows)
    return tag(
        "div", tag("table", tag("thead", cells("th", head)), tag("tbody", body), class_=class_ or None), class_="wide"
    )


def share_bar(part: float, whole: float) -> Html:
    """A small horizontal bar of `part` in `whole`."""
    percent = 100 * part / whole if whole else 0.0
    return tag(
        "span", tag("i", style=f"width:{max(0.0, min(100.0, percent)):.1f}%"), class_="bar", title=f"{percent:.1f} %"
    )


def share(part: float, whole: float) -> Html:
    """A share as a bar and in words."""
    return tag("span", share_bar(part, whole), f" {percent(part, whole)}", class_="share")


def fold(name: str, children: Sequence[object], open_: bool = False) -> Html:
    """Something to be opened."""
    return tag("details", tag("summary", name), *children, open="open" if open_ else None)


def count(number: float | None) -> str:
    """A whole number with thousands apart; a dash for none."""
    return "–" if number is None else f"{number:,.0f}"


def short(number: float | None) -> str:
    """About three digits: 950, 12.3 k, 4.56 M, 1.2 G."""
    if number is None:
        return "–"
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= limit:
            value = number / limit
            return f"{value:.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"
    return f"{number:.3g}"


def size(number: float | None) -> str:
    """Bytes in words: 12.3 MB."""
    return "–" if number is None else f"{short(number)}B" if number >= 1000 else f"{number:.0f} B"


def clock(seconds: float | None) -> str:
    """A time span: 8 s, 3 min 05 s."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"


def percent(part: float, whole: float) -> str:
    """A share: 42 %, 0.3 %."""
    value = 100 * part / whole if whole else 0.0
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"
