"""The report: one HTML file that holds its style and pictures and asks no network for anything."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any

from jobs.reporting import audit_sections, classifier_section, data_sections, model_sections, run_sections
from jobs.reporting.markup import Html, join, tag

Section = Callable[[dict[str, Any]], Html | None]

SECTIONS: dict[str, tuple[str, Section, str]] = {
    "sources": ("Sources", data_sections.sources, "jobs.fetch"),
    "curation": ("Curation", data_sections.curation, "jobs.curate"),
    "samples": ("Kept and removed", data_sections.samples, "jobs.curate"),
    "audit": ("Safety and bias", audit_sections.audit, "jobs.audit"),
    "classifiers": ("Classifiers", classifier_section.classifiers, "jobs.classifier"),
    "tokens": ("Tokens", data_sections.tokens, "jobs.tokenize"),
    "tuning": ("Tuning", model_sections.tuning, "jobs.tune"),
    "pretraining": ("Pretraining", model_sections.pretraining, "jobs.pretrain"),
    "masked": ("Fill in the blank", model_sections.masked, "jobs.pretrain"),
    "finetuning": ("Finetuning: a translator", model_sections.finetuning, "jobs.finetune"),
    "evaluation": ("Evaluation", model_sections.evaluation, "jobs.evaluate"),
    "generations": ("Generations", model_sections.generations, "jobs.generate"),
    "lineage": ("Lineage", run_sections.lineage, "the training jobs"),
    "cost": ("Time and memory", run_sections.cost, "jobs.quickstart"),
    "machine": ("Machine", run_sections.environment, ""),
}
"""Anchor -> heading, what draws it, and who makes what it draws. A new section is one line here."""


def render(summary: dict[str, Any]) -> str:
    """The page of a `collect`ed summary."""
    style = (resources.files("jobs.reporting") / "style.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"groundwork: {summary['title']}"),
        tag("style", Html(style)),
    )
    sections = [_section(anchor, *entry, summary) for anchor, entry in SECTIONS.items()]
    body = tag(
        "body",
        tag("header", tag("h1", f"groundwork: {summary['title']}"), _lede(summary), _tiles(summary), _nav()),
        run_sections.missing(summary),
        tag("main", *sections),
        tag("footer", "Every figure of this page is in summary.json beside it."),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _section(anchor: str, heading: str, draw: Section, made_by: str, summary: dict[str, Any]) -> Html:
    content = draw(summary)
    if content is None:
        content = tag("p", f"Not there; it is made by {made_by}.", class_="missing")
    return tag("section", tag("h2", heading), content, id=anchor)


def _lede(summary: dict[str, Any]) -> Html:
    machine = summary["environment"]
    gigabytes = machine["memory_bytes"] / 1e9
    made = f"{summary['created_at'].replace('T', ' ').removesuffix('Z')} UTC"
    return join(
        [
            tag(
                "p",
                "Real text curated, tokenized, tuned on, trained on, evaluated and specialised, as Ray jobs.",
                class_="lede",
            ),
            tag("p", f"{made} · {machine['cpus']} CPUs, {gigabytes:.0f} GB · {summary['location']}", class_="quiet"),
        ]
    )


def _tiles(summary: dict[str, Any]) -> Html:
    return tag(
        "dl",
        *(
            tag("div", tag("dt", figure["label"]), tag("dd", figure["value"], tag("small", figure["note"])))
            for figure in summary["headline"]
        ),
        class_="tiles",
    )


def _nav() -> Html:
    return tag("nav", *(tag("a", entry[0], href=f"#{anchor}") for anchor, entry in SECTIONS.items()))
