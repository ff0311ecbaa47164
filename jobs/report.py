"""One page that tells a run: `report.html` (no network needed) and `summary.json` with all its figures."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import Field

from jobs.dry_run import Plan
from jobs.job import Job, Outcome, Recipe, main
from jobs.reporting import collect, render
from jobs.reporting.collect import cards
from pipelines import storage
from pipelines.storage import Location

STAGES = (
    "curate",
    "audit",
    "tokenize",
    "tune",
    "pretrain",
    "pretrain-masked",
    "evaluate",
    "finetune",
    "evaluate-translator",
    "generate",
)


class ReportRecipe(Recipe, frozen=True):
    """Which run is reported."""

    directory: Location = Field(description="the run's output directory, with `jobs/` below it")
    sources: Location = Field(
        default_factory=lambda: storage.resolve("runs/sources"), description="what jobs.fetch filled"
    )


class Report(Job[ReportRecipe]):
    """Reads what the other jobs left; computes nothing of its own."""

    name = "report"
    recipe = ReportRecipe

    def inputs(self, recipe: ReportRecipe) -> dict[str, str]:
        """The result of every stage that has one, and the classifiers' cards."""
        results = {name: storage.join(recipe.directory, "jobs", name, "result.json") for name in STAGES}
        results |= {place.rsplit("/", 2)[-2] + "/card": place for place in cards(recipe.directory)}
        return {name: storage.file_fingerprint(place) for name, place in results.items() if storage.exists(place)}

    def plan(self, recipe: ReportRecipe) -> Plan:
        """The stages that are there to tell of."""
        there = self.inputs(recipe)
        work = [f"{name}: {'done' if name in there else 'not there, the page will say so'}" for name in STAGES]
        return Plan([*work, f"write {storage.join(recipe.output, 'report.html')} and summary.json"])

    def run(self, recipe: ReportRecipe) -> Outcome:
        """Gather, draw, write."""
        summary = collect(recipe.directory, recipe.sources)
        page = render(summary)
        places = {name: storage.join(recipe.output, name) for name in ("summary.json", "report.html")}
        storage.write_json(places["summary.json"], summary)
        storage.write_bytes(places["report.html"], page.encode())
        return Outcome(
            outputs={"report": places["report.html"], "summary": places["summary.json"]},
            metrics={"bytes": len(page.encode()), "missing": len(summary["missing"])},
            summary=[_headline(figure) for figure in summary["headline"]],
        )


def _headline(figure: dict[str, Any]) -> str:
    note = f" ({figure['note']})" if figure.get("note") else ""
    return f"{figure['label']}: {figure['value']}{note}"


JOB = Report()

if __name__ == "__main__":
    sys.exit(main(JOB))
