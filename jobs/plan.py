"""What a chain of jobs would do: the plan of every recipe, nothing started.

    python -m jobs.plan [DIR | RECIPE ...] [--json]

A directory is the quickstart's chain where it holds those recipes (in their order), else all its recipes by name.
A stage that needs what an earlier one has not made yet says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs import config, submit
from jobs.config import RecipeError
from jobs.job import InputError, Recipe, finished
from jobs.quickstart import RECIPES, STAGES
from jobs.submit import SubmitError
from pipelines import storage


def plans(recipes: Sequence[Path]) -> list[dict[str, Any]]:
    """For each recipe: its name, its job, the state (`done`, `ready`, `waits`), work and resources.

    Raises:
        RecipeError: a recipe is wrong, or no job is known for it.
    """
    return [_plan(path) for path in recipes]


def chain(places: Sequence[str]) -> list[Path]:
    """The recipes that the words of a command line name, directories taken apart in the stages' order."""
    order = {stage.name: number for number, stage in enumerate(STAGES)}
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            found += sorted(place.glob("*.yaml"), key=lambda path: (order.get(path.stem, len(order)), path.stem))
        else:
            found.append(place)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status is 0, or 2 when a recipe is wrong."""
    parser = argparse.ArgumentParser(prog="python -m jobs.plan", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("places", nargs="*", default=[str(storage.checkout() / RECIPES)], metavar="DIR | RECIPE")
    parser.add_argument("--json", action="store_true", help="one JSON list")
    options = parser.parse_args(arguments)
    try:
        found = plans(chain(options.places))
    except (RecipeError, SubmitError) as error:
        print(f"jobs.plan: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found))
        return 0
    for plan in found:
        asked = ", ".join(f"{amount:g} {name}" for name, amount in plan["resources"].items())
        print(
            f"{plan['name']} (jobs.{plan['job']}): {plan['state']}" + (f", asks for {asked} at once" if asked else "")
        )
        for line in plan["work"]:
            print(f"  {line}")
    return 0


def _plan(path: Path) -> dict[str, Any]:
    names = {stage.name: stage.job for stage in STAGES}
    job = submit.load_job(names.get(path.stem) or path.stem.partition("-")[0])
    recipe: Recipe = config.load(job.recipe, path)
    about = {"name": recipe.name, "job": job.name, "recipe": str(path)}
    try:
        plan = job.plan(recipe)
        state = "done" if finished(job, recipe) is not None else "ready"
    except InputError as error:
        return {**about, "state": "waits", "work": [str(error)], "resources": {}}
    return {**about, "state": state, "work": plan.work, "resources": plan.resources}


if __name__ == "__main__":
    sys.exit(main())
