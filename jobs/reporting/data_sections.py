"""The report's sections on text: sources, curation, samples."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from jobs.reporting.charts import Step, bars, funnel
from jobs.reporting.markup import Html, count, fold, join, percent, share, size, table, tag

_MOST_REASONS, _MOST_KEPT, _MOST_LANGUAGES = 12, 6, 20
_TRAINED_ON = {"warc", "jsonl", "text", "code"}


def sources(summary: dict[str, Any]) -> Html | None:
    """What was fetched, from where, under which licence."""
    record = summary["sources"]
    if not record:
        return None
    versions = {package["name"]: package["version"] for package in record["packages"]}
    head = ["source", "from", "licence", "documents", "size"]
    trained = [source for source in record["sources"] if source["kind"] in _TRAINED_ON]
    others = [source for source in record["sources"] if source["kind"] not in _TRAINED_ON]
    return join(
        [
            tag("p", f"Fetched {record['fetched_at']}. {_sentence(record['note'])}", class_="quiet"),
            table(head, [_source(source, versions) for source in trained], words=3),
            fold(
                "Kept out of training: pairs, evaluation rows, the language model",
                [table(head, [_source(source, versions) for source in others], words=3)],
            ),
        ]
    )


def _source(source: dict[str, Any], versions: dict[str, str]) -> list[object]:
    packages = ", ".join(f"{name} {versions.get(name, '')}".strip() for name in source["package"].split(", "))
    note = tag("div", source["note"], class_="quiet") if source.get("note") else None
    name = join([tag("strong", source["name"]), note])
    return [name, packages, source["licence"], count(source["documents"]), size(source["bytes"])]


def curation(summary: dict[str, Any]) -> Html | None:
    """The funnel: what each step removed, and what is left by source and language."""
    record = summary["funnel"]
    if not record:
        return None
    removed: dict[str, int] = defaultdict(int)
    for stage in record["stages"]:
        removed[stage["stage"]] += stage["documents"]
    remaining, steps = record["documents_in"], []
    for name, number in removed.items():
        remaining -= number
        steps.append(Step(_words(name)[:24], remaining, number))
    reasons = sorted(record["stages"], key=lambda stage: -stage["documents"])[:_MOST_REASONS]
    why = [(_reason(stage), stage["documents"], count(stage["documents"])) for stage in reasons if stage["documents"]]
    balance = record["kept"] + sum(stage["documents"] for stage in record["stages"])
    lede = (
        f"{record['documents_in']:,} documents ({size(record['bytes_in'])}) came in, {record['kept']:,} "
        f"({percent(record['kept'], record['documents_in'])}, {size(record['bytes_kept'])}) stayed. "
    )
    lede += (
        f"Kept and removed add up to {balance:,}."
        if balance == record["documents_in"]
        else f"Kept and removed add up to {balance:,}, which is not what came in."
    )
    by_source = [
        [
            name,
            _reasons(source["rejected"]),
            share(source["kept"], source["in"]),
            count(source["in"]),
            count(source["kept"]),
        ]
        for name, source in record["sources"].items()
    ]
    by_language = sorted(record["by_language"].items(), key=lambda item: -_documents(item[1]))
    languages = [
        [
            name,
            _reasons(entry["rejected"]),
            share(entry["kept"].get("documents", 0), _documents(entry)),
            count(_documents(entry)),
            count(entry["kept"].get("documents", 0)),
            count(entry["kept"].get("words", 0)),
        ]
        for name, entry in by_language[:_MOST_LANGUAGES]
    ]
    return join(
        [
            tag("p", lede),
            tag(
                "div",
                tag(
                    "figure", funnel(record["documents_in"], steps, "kept"), tag("figcaption", "Left after each step.")
                ),
                tag("figure", bars(why, colour=3, left=230, width=500), tag("figcaption", "Removed most for.")),
                class_="two",
            ),
            tag("h3", "By source"),
            table(["source", "removed most for", "kept", "documents", "kept"], by_source, words=3),
            tag("h3", "By language"),
            table(["language", "removed most for", "kept", "documents", "kept", "words kept"], languages, words=3),
            *_parted(record),
            *_cut(record),
            _flips(record),
        ]
    )


def _documents(entry: dict[str, Any]) -> int:
    return int(entry["kept"].get("documents", 0)) + sum(entry["rejected"].values())


def _parted(record: dict[str, Any]) -> list[Html]:
    """Rules that keep a share of what reaches them, and what that came to."""
    if not record.get("shares"):
        return []
    head = ["source", "score", "share to keep", "reached the rule", "kept", "scores at least"]
    rows = [
        [
            share["source"],
            share["name"],
            f"{100 * share['keep_fraction']:g} %",
            count(share["documents"]),
            count(share["kept"]),
            f"{share['threshold']:.4g}",
        ]
        for share in record["shares"]
    ]
    return [tag("h3", "Kept by share"), table(head, rows, words=2)]


def _cut(record: dict[str, Any]) -> list[Html]:
    """What rules cut out of documents that stay."""
    if not record["cut"]:
        return []
    rows = [[_reason(cut), count(cut["spans"]), size(cut["bytes"])] for cut in record["cut"]]
    return [
        tag("h3", "Cut out of documents that stay"),
        tag("p", f"{record['edited']:,} documents were edited. Each piece is a row in spans/.", class_="quiet"),
        table(["what", "pieces", "size"], rows),
    ]


def _flips(record: dict[str, Any]) -> Html:
    """Documents near each threshold."""
    moved = f"{100 * record['flips_moved']:.0f} %"
    tests = sorted(record["flips"], key=lambda flip: -max(flip["looser"], flip["stricter"]))
    rows = [[_reason(flip), count(flip["looser"]), count(flip["stricter"])] for flip in tests]
    head = ["test", f"would stay with a threshold looser by {moved}", f"would go with one stricter by {moved}"]
    return fold("How many documents are near a threshold", [table(head, rows)])


def samples(summary: dict[str, Any]) -> Html | None:
    """A few documents that stayed, and a few for each reason that did not."""
    record = summary["funnel"]
    if not record:
        return None
    removed: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for sample in record["samples"]["rejected"]:
        removed[sample["stage"]].append(sample)
    numbers: dict[str, int] = defaultdict(int)
    for stage in record["stages"]:
        numbers[stage["stage"]] += stage["documents"]
    kept = record["samples"]["kept"][:_MOST_KEPT]
    folds = [
        fold(f"Removed by {_words(name)}: {len(found)} of {numbers[name]:,}", [_sample(s, _against(s)) for s in found])
        for name, found in removed.items()
    ]
    first = fold(f"Kept: {len(kept)} of {record['kept']:,}", [_sample(sample, "") for sample in kept], open_=True)
    return join([first, *folds])


def _sample(sample: dict[str, Any], note: str) -> Html:
    about = " · ".join(filter(None, [sample.get("source"), sample.get("language"), sample["id"], note]))
    return tag("div", tag("span", about, class_="quiet"), tag("div", sample["excerpt"], class_="text"), class_="sample")


def _against(sample: dict[str, Any]) -> str:
    score, threshold = sample.get("score"), sample.get("threshold")
    reason = _words(sample["reason"])
    if score is None:
        return reason
    return f"{reason} {score:.4g}" + (f", the limit is {threshold:.4g}" if threshold is not None else "")


def _reason(stage: dict[str, Any]) -> str:
    return f"{_words(stage['stage'])}: {_words(stage['reason'])}"[:38]


def _reasons(rejected: dict[str, int]) -> str:
    first = sorted(rejected.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{_words(reason).replace('/', ': ')} {number:,}" for reason, number in first) or "nothing"


def _words(reason: str) -> str:
    return reason.replace("_", " ")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""
