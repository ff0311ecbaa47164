"""The report's section on safety and bias: what filters do by identity group, whom the corpus mentions, beside what.

`digest` is what `summary.json` keeps of `audit.json`: every filter with the groups that it removed anything of, every
group's mentions, and the associations and scores that are flagged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.reporting.markup import Html, count, join, percent, table, tag

_MOST_EXAMPLES = 60

_READ = {
    "removed": "sentences that a filter removed, of those it was asked about, in carriers that it keeps by themselves",
    "difference": "to the other groups' sentences, in percentage points, with Newcombe's 95 % interval; a filter's "
    "flag is an interval above 0",
    "stays": "the share of documents with a mention that stay, less that of the others, in percentage points, over "
    "languages and sources (Mantel and Haenszel)",
    "log odds ratio": "of an attribute's words near a group's mentions, against the axis's other groups (after Bordia "
    "and Bowman 2019, smoothed as in Monroe et al. 2008); 0 is no difference",
    "distance": "of the shares that an axis's groups have of its mentions from equal ones: total variation, 0 to 1",
    "bold": "the 95 % interval leaves out 0: a place to look at. There are many rows, so some are chance; and a "
    "report without any is no proof of fairness",
}


def digest(audit: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of an audit."""
    filters = []
    for variant in audit["filters"]:
        languages = {
            language: {
                **told,
                "filters": [{**each, "groups": _telling(each["groups"])} for each in told["filters"]],
                "scores": [
                    {"score": each["score"], "where": where, **each[where], "groups": _flagged(each[where]["groups"])}
                    for each in told["scores"]
                    for where in ("in_carriers", "alone")
                ],
            }
            for language, told in variant.get("languages", {}).items()
        }
        filters.append({**variant, "languages": languages})
    found = {**audit, "filters": filters}
    if "corpus" in audit:
        tables = {
            language: {**each, "associations": [row for row in each["associations"] if row["after"]["flagged"]]}
            for language, each in audit["corpus"]["languages"].items()
        }
        found["corpus"] = {**audit["corpus"], "languages": tables}
    return found


def _telling(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [group for group in groups if group["flagged"] or group["removed"] or group["cut"]]


def _flagged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [group for group in groups if group["flagged"]]


def audit(summary: dict[str, Any]) -> Html | None:
    """What filters remove by group; mentions and associations before and after."""
    record = summary.get("audit")
    if not record:
        return None
    parts = [tag("p", record["statement"]), tag("h3", "Filters, asked about neutral sentences"), *_filters(record)]
    for language, found in record.get("corpus", {}).get("languages", {}).items():
        parts += _language(language, found)
    weights = record.get("corpus", {}).get("weights")
    if weights:
        parts += _weights(weights)
    reading = tag("ul", *(tag("li", tag("strong", f"{name}: "), words) for name, words in _READ.items()))
    notes = tag(
        "ul", *(tag("li", f"{language}: {note}") for language, each in record["notes"].items() for note in each)
    )
    return join([*parts, _fold("How to read this", [reading]), _fold("Limits of the words", [notes])])


def _asked(record: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for variant in record["filters"]:
        for language, told in variant["languages"].items():
            for each in told["filters"]:
                yield ", ".join(variant["sources"]), language, each


def _filters(record: Mapping[str, Any]) -> list[Html]:
    asked = list(_asked(record))
    quiet = [each for _, _, each in asked if not each["removed"] and not each["cut"] and not each["carriers_removed"]]
    rows, groups = [], []
    for sources, language, each in asked:
        if each in quiet:
            continue
        name = join([tag("strong", each["filter"]), tag("div", f"{sources}; {language}", class_="quiet")])
        flags = ", ".join(group["group"] for group in each["groups"] if group["flagged"]) or "none"
        gone = "; ".join(dict.fromkeys(why["reason"] for why in each["carriers_removed"]))
        note = f"not asked in carriers that it removes by themselves ({gone})" if gone else ""
        control = _of(each["control"]["removed"], each["control"]["sentences"])
        rows.append(
            [name, join([flags, tag("div", note, class_="quiet")]), _of(each["removed"], each["sentences"]), control]
        )
        groups += [_group(name, group) for group in each["groups"]]
    lines = [
        tag("p", f"{len(quiet)} of {len(asked)} filters (by sources and language) removed no sentence.", class_="quiet")
    ]
    if rows:
        lines.append(table(["filter", "flagged groups", "removed", "where no group is named"], rows, words=2))
    if groups:
        head = ["filter", "group", "example", "removed", "difference"]
        lines.append(_fold("By group", [table(head, groups[:_MOST_EXAMPLES], words=3)]))
    lines += [
        tag("p", f"Not asked: {', '.join(each['sources'])}, {each['skipped']}.", class_="quiet")
        for each in record["filters"]
        if "skipped" in each
    ]
    return [*lines, *_scores(record)]


def _group(name: Html, group: Mapping[str, Any]) -> list[object]:
    shown = next(iter(group["examples"]), None)
    why = ""
    if shown is not None:
        why = f"{shown['reason'].replace('_', ' ')}" + (f" ({shown['detail']})" if shown["detail"] else "")
    example = join([shown["sentence"], tag("div", why, class_="quiet")]) if shown else ""
    marked = tag("strong", group["group"]) if group["flagged"] else group["group"]
    return [name, marked, example, _of(group["removed"], group["sentences"]), _interval(group["difference"], 100, 1)]


def _scores(record: Mapping[str, Any]) -> list[Html]:
    rows = [
        [
            f"{each['score'].replace('_', ' ')}, {each['where'].replace('_', ' ')}",
            f"{', '.join(variant['sources'])}; {language}",
            group["group"],
            f"{group['mean']:.3f}",
            _interval(group["difference"], 1, 3),
        ]
        for variant in record["filters"]
        for language, told in variant["languages"].items()
        for each in told["scores"]
        for group in each["groups"]
    ]
    if not rows:
        return []
    head = ["score", "where", "group", "mean", "against all groups"]
    return [_fold("Scores that differ by group", [table(head, rows, words=3)])]


def _language(language: str, found: Mapping[str, Any]) -> list[Html]:
    before = found.get("before")
    lede = f"{found['after']['documents']:,} documents, {found['after']['words']:,} words"
    lede += f"; before curation {before['documents']:,} documents, {before['words']:,} words." if before else "."
    rows = [_mentioned(row) for row in found["groups"]]
    head = ["axis", "group", "documents before", "after", "a million words before", "after", "stays, against others"]
    parts = [tag("h3", f"The corpus: {language}"), tag("p", lede, class_="quiet")]
    parts.append(_fold("Whom it mentions", [table(head, rows, words=2)], open_=language == "en"))
    axes = "; ".join(f"{axis['axis']} {_moved(axis)}" for axis in found["axes"])
    parts.append(tag("p", f"Distance of mentions from equal shares, by axis: {axes}.", class_="quiet"))
    near = [_near(row) for row in found["associations"]]
    if near:
        head = ["group", "words of", "near it", "by the others' rate", "log odds ratio before", "after"]
        parts.append(_fold("What stands near mentions (flagged)", [table(head, near, words=2)], open_=True))
    return parts


def _moved(axis: Mapping[str, Any]) -> str:
    shown = ["–" if axis[phase] is None else f"{axis[phase]:.2f}" for phase in ("before", "after") if phase in axis]
    return " to ".join(dict.fromkeys(shown))


def _mentioned(row: Mapping[str, Any]) -> list[object]:
    before, after, kept = row.get("before"), row["after"], row.get("retention")
    stays: object = "–"
    if kept and kept["difference"]:
        words = _interval(kept["difference"], 100, 1)
        stays = tag("strong", words) if kept["flagged"] else words
    documents = [count(each["documents"] if each else None) for each in (before, after)]
    rates = [count(each["per_million_words"] if each else None) for each in (before, after)]
    return [row["axis"], row["group"], *documents, *rates, stays]


def _near(row: Mapping[str, Any]) -> list[object]:
    after = row["after"]
    ratios = [_interval(row[phase]["log_odds_ratio"], 1, 2) if phase in row else "–" for phase in ("before", "after")]
    return [row["group"], row["attribute"], count(after["hits"]), f"{after['expected']:.1f}", *ratios]


def _weights(weights: Mapping[str, Any]) -> list[Html]:
    rows = [
        [cell["group"], cell["class"], count(cell["documents"]), f"{cell['weight']:.3f}"] for cell in weights["cells"]
    ]
    what = "independent of each other" if weights["target"] == "observed" else "independent, and groups as heavy"
    lede = (
        f"Weights of {count(weights['documents'])} documents, under which {weights['axis']} and {weights['by']} are "
        f"{what} (Kamiran and Calders 2012). Nothing here reads them yet."
    )
    short = [f"{' and '.join(cell)}" for cell in weights["empty_cells"]]
    note = tag("p", f"No documents to weigh: {'; '.join(short)}.", class_="quiet") if short else None
    parts = [tag("h3", "Weights"), tag("p", lede), table(["group", "class", "documents", "weight"], rows, words=2)]
    return [*parts, note] if note else parts


def _interval(estimate: list[float] | None, scale: float, digits: int) -> str:
    if estimate is None:
        return "–"
    value, low, high = (scale * each for each in estimate)
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({percent(part, whole)})" if whole else "–"


def _fold(name: str, children: list[Html], open_: bool = False) -> Html:
    return tag("details", tag("summary", name), *children, open="open" if open_ else None)
