"""The report's section on classifiers: how well held-out documents are told apart, and by which words."""

from __future__ import annotations

from typing import Any

from jobs.reporting.charts import Series, curves
from jobs.reporting.markup import Html, count, join, size, table, tag

_SHOWN_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def classifiers(summary: dict[str, Any]) -> Html | None:
    """Every classifier of the run, which needs none."""
    cards = summary["classifiers"]
    return join(part for card in cards for part in _classifier(card)) if cards else None


def _classifier(card: dict[str, Any]) -> list[Html]:
    held, training = card["held_out"], card["training"]
    area, label = held["area"], card["label"]
    trained, kept_out = (
        " and ".join(f"{number:,} {name}" for name, number in counts.items())
        for counts in (training["documents"], held["documents"])
    )
    lede = (
        f"fastText, trained on {trained} documents; the figures are of {kept_out} ones that were held out. A "
        f"document of {label} scores more than another one in {100 * area['value']:.2f} % of pairs "
        f"({100 * area['low']:.2f} to {100 * area['high']:.2f}). F1 is highest, {held['best']['f1']:.3f}, at "
        f"{held['best']['threshold']:.4g}. {size(card['model']['bytes'])}, sha256 {card['model']['sha256'][:16]}."
    )
    drawn = [
        Series("precision", _points(held, "precision"), 1, marks=True),
        Series("recall", _points(held, "recall"), 2, marks=True),
        Series("others", _points(held, "false_positives"), 3, marks=True),
    ]
    return [
        tag("h3", card["name"]),
        tag("p", lede),
        tag(
            "figure",
            curves(drawn, f"score of {label} at least", "share"),
            tag("figcaption", "Precision, recall, and the share of other documents that is let through."),
        ),
        table(
            ["score at least", "precision", "recall", "F1", "others let through", "kept of all"],
            [_row(row) for row in held["thresholds"]],
            words=0,
        ),
        tag("p", "Shares with 95 % intervals; precision is that of the classes' sizes held out here.", class_="quiet"),
        table(
            ["class", "input", "held out", "score 0.5 or more", *(f"{share:.0%}" for share in _SHOWN_QUANTILES)],
            [_source(source) for source in held["sources"]],
            words=2,
        ),
        tag("p", "The last columns are quantiles of the scores.", class_="quiet"),
        *_words(card),
        *_hardest(card),
    ]


def _points(held: dict[str, Any], key: str) -> list[tuple[float, float]]:
    return [(row["threshold"], row[key]["value"]) for row in held["thresholds"] if row[key] is not None]


def _row(row: dict[str, Any]) -> list[object]:
    f1 = "–" if row["f1"] is None else f"{row['f1']:.3f}"
    shares = [_share(row[key]) for key in ("precision", "recall", "false_positives")]
    return [f"{row['threshold']:g}", *shares[:2], f1, shares[2], f"{100 * row['kept']:.1f} %"]


def _source(source: dict[str, Any]) -> list[object]:
    values = {entry["share"]: entry for entry in source["quantiles"]}
    shown = [
        tag("span", f"{values[share]['value']:.3f}", title=f"{values[share]['low']:.3f} to {values[share]['high']:.3f}")
        for share in _SHOWN_QUANTILES
    ]
    return [source["label"], source["source"], count(source["documents"]), _share(source["half"]), *shown]


def _share(share: dict[str, float] | None) -> str:
    if share is None:
        return "–"
    return f"{100 * share['value']:.1f} % ({100 * share['low']:.1f}–{100 * share['high']:.1f})"


def _words(card: dict[str, Any]) -> list[Html]:
    if not card["words"]:
        return []
    speaks = {"for": f"Frequent words that speak for {card['label']}: ", "against": "Against: "}
    return [tag("p", tag("strong", words), " ".join(card["words"][key])) for key, words in speaks.items()]


def _hardest(card: dict[str, Any]) -> list[Html]:
    if not card["hardest"]:
        return []
    samples = [
        tag(
            "div",
            tag("span", f"{each['label']} · {each['source']} · {each['score']:.3f}", class_="quiet"),
            tag("div", each["excerpt"], class_="text"),
            class_="sample",
        )
        for each in card["hardest"]
    ]
    return [tag("details", tag("summary", "Held-out documents furthest on the wrong side"), *samples)]
