"""The report: one HTML file that holds its style and pictures and asks no network for anything."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import resources
from typing import Any

from jobs.reporting import (
    audit_sections,
    classifier_section,
    contamination_section,
    data_sections,
    duplicates_section,
    model_sections,
    recovery_section,
    run_sections,
    speed_section,
    token_sections,
)
from jobs.reporting.markup import Html, join, tag

Section = Callable[[dict[str, Any]], Html | None]

SECTIONS: dict[str, tuple[str, Section, str]] = {
    "sources": ("Sources", data_sections.sources, "jobs.fetch"),
    "curation": ("Curation", data_sections.curation, "jobs.curate"),
    "samples": ("Kept and removed", data_sections.samples, "jobs.curate"),
    "duplicates": ("Duplicates", duplicates_section.duplicates, "jobs.curate"),
    "contamination": ("Contamination", contamination_section.contamination, "jobs.curate"),
    "audit": ("Safety and bias", audit_sections.audit, "jobs.audit"),
    "classifiers": ("Classifiers", classifier_section.classifiers, "jobs.classifier"),
    "tokens": ("Tokens", token_sections.tokens, "jobs.tokenize"),
    "mixture": ("Mixture", token_sections.mixture, "jobs.pretrain"),
    "tuning": ("Tuning", model_sections.tuning, "jobs.tune"),
    "pretraining": ("Pretraining", model_sections.pretraining, "jobs.pretrain"),
    "masked": ("Fill in the blank", model_sections.masked, "jobs.pretrain"),
    "finetuning": ("Finetuning: a translator", model_sections.finetuning, "jobs.finetune"),
    "recovery": ("Attempts and goodput", recovery_section.recovery, "the training jobs"),
    "speed": ("Speed and checkpoints", speed_section.speed, "the training jobs"),
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
    drawn = {anchor: draw(summary) for anchor, (_, draw, _) in SECTIONS.items()}
    there = {anchor: content for anchor, content in drawn.items() if content is not None}
    body = tag(
        "body",
        tag("header", tag("h1", f"groundwork: {summary['title']}"), _lede(summary), _tiles(summary), _nav(there)),
        tag("main", *(tag("section", tag("h2", SECTIONS[anchor][0]), there[anchor], id=anchor) for anchor in there)),
        _left_out(summary, there),
        tag("footer", "Every figure of this page is in summary.json beside it."),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _left_out(summary: dict[str, Any], there: Collection[str]) -> Html | None:
    """Sections that a whole run has and this one does not, and the files that they would be made of."""
    names = [f"{heading} ({made_by})" for anchor, (heading, _, made_by) in SECTIONS.items() if anchor not in there]
    if not names:
        return None
    files = run_sections.missing(summary)
    return tag("section", tag("h2", "Not made"), tag("p", "; ".join(names)), files, id="not-made")


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


def _nav(there: Collection[str]) -> Html:
    return tag("nav", *(tag("a", SECTIONS[anchor][0], href=f"#{anchor}") for anchor in there))
