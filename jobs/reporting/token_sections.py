"""The report's sections on tokens: the store, its vocabulary beside others, and the mixture that training draws."""

from __future__ import annotations

from typing import Any

from jobs.reporting.charts import bars
from jobs.reporting.markup import Html, count, fold, join, percent, share, short, table, tag

_MOST_GROUPS = 24


def tokens(summary: dict[str, Any]) -> Html | None:
    """The token store by source, and how a few texts fall into pieces."""
    record = summary["tokens"]
    if not record:
        return None
    train = record["splits"].get("train", {"sources": {}, "tokens": 0, "documents": 0, "bytes": 0})
    held = record["splits"].get("validation", {"sources": {}, "tokens": 0, "documents": 0, "bytes": 0})
    ratios = record["bytes_per_token"]
    rows = [
        [
            name,
            share(entry["tokens"], train["tokens"]),
            count(entry["documents"]),
            count(entry["tokens"]),
            count(held["sources"].get(name, {}).get("tokens", 0)),
            f"{ratios['sources'].get(name, 0):.2f}",
        ]
        for name, entry in train["sources"].items()
    ]
    rows.append(
        ["all", "", count(train["documents"]), count(train["tokens"]), count(held["tokens"]), f"{ratios['all']:.2f}"]
    )
    languages = ", ".join(f"{language} {ratio:.2f}" for language, ratio in ratios.get("languages", {}).items())
    lede = f"Byte-level BPE with {record['vocabulary_size']:,} tokens, trained on this corpus."
    parts: list[Html] = [
        tag("p", lede + (f" Bytes a token by language: {languages}." if languages else "")),
        table(["source", "share", "documents", "train tokens", "held out", "bytes a token"], rows, words=2),
    ]
    parts += [*_fertility(record), *_lengths(record)]
    if record.get("examples"):
        pieces = [
            tag("div", tag("span", f"{each['source']} · {each['id']}", class_="quiet"), _pieces(each), class_="sample")
            for each in record["examples"]
        ]
        parts.append(fold("Texts in pieces", pieces))
    return join(parts)


def _fertility(record: dict[str, Any]) -> list[Html]:
    """Bytes a token of this vocabulary and of others on the same texts; the most is best."""
    measured = record.get("fertility")
    if not measured:
        return []
    parts = [tag("h3", "Bytes a token, beside other vocabularies")]
    sample = measured["sample"]
    parts.append(
        tag(
            "p",
            f"On {sample['documents']:,} documents ({short(sample['bytes'])}B), held out where there are some. "
            "More bytes a token is a shorter text for the model, and a larger vocabulary has more of them.",
            class_="quiet",
        )
    )
    for kind, word in (("languages", "language"), ("sources", "source")):
        names = list(dict.fromkeys(name for row in measured[kind].values() for name in row))
        rows = [[key, *(_best(row, name) for name in names)] for key, row in measured[kind].items()]
        parts.append(table([word, *names], rows))
    return parts


def _best(row: dict[str, float], name: str) -> object:
    if name not in row:
        return "–"
    words = f"{row[name]:.2f}"
    return tag("span", words, class_="above") if row[name] == max(row.values()) else words


def _lengths(record: dict[str, Any]) -> list[Html]:
    """How long tokens are: those of the texts, and those of the vocabulary."""
    histogram = record.get("token_length_histogram")
    if not histogram or not sum(histogram["used"]):
        return []
    figures = []
    for key, words, colour in (("used", "of the texts' tokens", 1), ("vocabulary", "of the vocabulary", 4)):
        counts = histogram[key]
        last = max((n for n, number in enumerate(counts) if number), default=0)
        total = sum(counts[1:]) or 1
        rows = [
            (
                f"{n} byte{'s' * (n > 1)}{' or more' * (n == len(counts) - 1)}",
                float(counts[n]),
                percent(counts[n], total),
            )
            for n in range(1, min(last, 16) + 1)
        ]
        figures.append(
            tag("figure", bars(rows, colour=colour, left=90, width=420), tag("figcaption", f"Lengths {words}."))
        )
    return [fold("How long tokens are", [tag("div", *figures, class_="two")])]


def _pieces(example: dict[str, Any]) -> Html:
    marked = join((tag("b", piece) if i % 2 else piece for i, piece in enumerate(example["pieces"])), between="")
    return tag("div", marked, class_="text")


def mixture(summary: dict[str, Any]) -> Html | None:
    """What the pretraining draws from each source and language, and how documents become windows."""
    record = summary["mixture"]
    if not record:
        return None
    drawn, packed = record["drawn"], record["packed"]
    groups = sorted(drawn["groups"].items(), key=lambda item: -item[1]["share"])[:_MOST_GROUPS]
    shares = [(name, row["share"], percent(row["share"], 1)) for name, row in groups]
    rows = [
        [
            name,
            count(row["tokens_available"]),
            count(row["tokens"]),
            percent(row["share"], 1),
            f"{row['epochs']:.2f}",
            f"{row['cap']:g}",
        ]
        for name, row in groups
    ]
    lede = (
        f"{drawn['tokens']:,} tokens in windows of {drawn['sequence_length']:,}, packed by "
        f"{drawn['packing'].replace('_', ' ')}: {packed['cut']:,} of {packed['documents']:,} documents "
        f"({percent(packed['cut'], packed['documents'])}) are cut by a window's end, {packed['padding']:.2%} is "
        "padding."
    )
    parts = [
        tag("p", lede),
        tag("figure", bars(shares, colour=2, width=560), tag("figcaption", "Share of the tokens drawn.")),
        table(["source/language", "tokens there", "drawn", "share", "passes", "at most"], rows),
    ]
    if len(drawn["stages"]) > 1:
        stages = [
            [f"stage {number}", f"{stage['samples']:,}", ", ".join(f"{n} {s:.1%}" for n, s in stage["shares"].items())]
            for number, stage in enumerate(drawn["stages"], start=1)
        ]
        parts.append(table(["stage", "samples", "shares"], stages, words=3))
    if drawn["left_out"]:
        parts.append(tag("p", f"Not drawn: {', '.join(drawn['left_out'])}.", class_="quiet"))
    return join(parts)
