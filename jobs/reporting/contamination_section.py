"""The report's section on contamination: what the corpus held of evaluations, by task, before and after."""

from __future__ import annotations

from typing import Any

from jobs.reporting.markup import Html, count, join, table, tag

_SHOWN_EXAMPLES = 3


def contamination(summary: dict[str, Any]) -> Html | None:
    """Documents dropped for each task, and how much of its examples the corpus held and holds."""
    record = summary["contamination"]
    if not record:
        return None
    tasks = record["tasks"]
    settings = record["settings"]
    checkable = sum(task["checkable"] for task in tasks.values())
    rule = {
        "any": f"holds {settings['n']} words in a row of an example",
        "count": f"holds {settings['min_count']} different n-grams of {settings['n']} words of an example",
        "coverage": f"holds {settings['min_coverage']:.0%} of an example's n-grams of {settings['n']} words",
    }[settings["rule"]]
    lede = (
        f"{record['documents_dropped']:,} documents went: a document goes that {rule}. "
        f"Checked for {checkable:,} examples of {len(tasks)} tasks."
    )
    head = ["task", "examples", "checkable", "seen in part", "by half", "wholly", "still in part", "documents dropped"]
    rows = [
        [
            name,
            count(task["examples"]),
            count(task["checkable"]),
            *(count(task["before"][share]) for share in ("any", "half", "whole")),
            count(task["after"]["any"]),
            count(task["documents_dropped"]),
        ]
        for name, task in tasks.items()
    ]
    parts = [tag("p", lede), table(head, rows)]
    shown = [(name, worst) for name, task in tasks.items() for worst in task["most_contaminated"][:_SHOWN_EXAMPLES]]
    if shown:
        title = tag("summary", f"Examples beside the documents that held them: {len(shown)}")
        parts.append(tag("details", title, *(_pair(name, worst) for name, worst in shown)))
    common = record["ignored"]["commonest"]
    if common:
        phrases = table(["phrase", "documents"], [[each["text"], count(each["documents"])] for each in common])
        note = f"Common phrases, which do not count: {record['ignored']['ngrams']:,}"
        parts.append(tag("details", tag("summary", note), phrases))
    return join(parts)


def _pair(task: str, worst: dict[str, Any]) -> Html:
    one = tag(
        "span",
        f"{task}, {worst['file']}, row {worst['row']}: {worst['coverage_before']:.0%} seen, "
        f"{worst['coverage_after']:.0%} after",
        class_="quiet",
    )
    two = tag("span", f"held by {worst['document'] or 'several documents, a part each'}", class_="quiet")
    sides = ((one, worst["example_text"]), (two, worst["document_text"] or ""))
    return tag("div", *(tag("div", name, tag("div", text, class_="text")) for name, text in sides), class_="two sample")
