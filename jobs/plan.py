"""What a chain of jobs would do, nothing started; and what a pretraining needs: memory, days, dollars.

    python -m jobs.plan [DIR | RECIPE ...] [--json]
    python -m jobs.plan PRETRAIN.yaml --gpu h100-80gb --gpus 64 [options]
    python -m jobs.plan (--parameters 7B | --model PLACE) --tokens 2T --gpu a100-80gb --gpus 512 [options]

A directory is the quickstart's chain where it holds those recipes (in their order), else all its recipes by name.
A stage that needs what an earlier one has not made yet says so. For one pretrain recipe, or by flags, the planner
(`jobs.planning`) answers: memory a GPU by ZeRO stage, the largest micro batch, FLOPs, days, dollars, checkpoints, data.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import config, submit
from jobs.clusters.prices import PricesError
from jobs.config import RecipeError
from jobs.job import InputError, Recipe, finished
from jobs.quickstart import RECIPES, STAGES
from jobs.submit import SubmitError
from pipelines import storage

if TYPE_CHECKING:
    from jobs.planning.answer import Answer

_ASKS = (
    "gpu",
    "gpus",
    "zero",
    "offload",
    "sequence",
    "batch_tokens",
    "mfu",
    "micro_batch",
    "precision",
    "network_gbps",
)


def plans(recipes: Sequence[str]) -> list[dict[str, Any]]:
    """For each recipe: its name, its job, the state (`done`, `ready`, `waits`), work and resources.

    Raises:
        RecipeError: a recipe is wrong, or no job is known for it.
    """
    return [_plan(place) for place in recipes]


def chain(places: Sequence[str]) -> list[str]:
    """The recipes that the words of a command line name, directories taken apart in the stages' order."""
    order = {stage.name: number for number, stage in enumerate(STAGES)}
    found: list[str] = []
    for place in places:
        if Path(place).is_dir():
            held = Path(place).glob("*.yaml")
            found += map(str, sorted(held, key=lambda path: (order.get(path.stem, len(order)), path.stem)))
        else:
            found.append(place)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status is 0, or 2 when a recipe or an option is wrong."""
    options = _arguments(arguments)
    try:
        if options.parameters or options.model:
            return _show_answer(_by_flags(options), options.json)
        if options.tokens:
            raise InputError("--tokens goes with --parameters or --model; a recipe has its own")
        recipes = chain(options.places or [str(storage.checkout() / RECIPES)])
        found = plans(recipes)
        single = len(recipes) == 1 and found[0]["job"] == "pretrain"
        if not single and (given := _given(options)):
            raise InputError(f"{', '.join(given)}: expected one pretrain recipe, --parameters or --model")
        answer = _of_recipe(recipes[0], options) if single else None
    except (RecipeError, SubmitError, InputError, PricesError) as error:
        print(f"jobs.plan: {error}", file=sys.stderr)
        return 2
    if options.json:
        if answer is not None:
            from jobs.planning.answer import as_json

            found[0]["planner"] = as_json(answer)
        print(json.dumps(found))
        return 0
    for plan in found:
        asked = ", ".join(f"{amount:g} {name}" for name, amount in plan["resources"].items())
        print(
            f"{plan['name']} (jobs.{plan['job']}): {plan['state']}" + (f", asks for {asked} at once" if asked else "")
        )
        for line in plan["work"]:
            print(f"  {line}")
    return 0 if answer is None else _show_answer(answer, False)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("places", nargs="*", metavar="DIR | RECIPE")
    parser.add_argument("--json", action="store_true", help="one JSON list (of recipes) or object (by flags)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--parameters", help="of a network that is derived from their number, as 7B")
    which.add_argument("--model", help="a preset, a recipe, or a config.json (the project's layouts, gpt2, olmo)")
    parser.add_argument("--tokens", help="to train on, as 2T; with --parameters or --model")
    parser.add_argument("--gpu", help="as h100-80gb: jobs/planning/hardware.yaml has them all")
    parser.add_argument("--gpus", type=int, help="how many (a recipe: its workers)")
    parser.add_argument("--zero", type=int, choices=range(4), help="ZeRO stage (the lowest that fits)")
    parser.add_argument("--offload", choices=("optimizer", "parameters"), help="what waits in the CPUs' memory")
    parser.add_argument("--sequence", type=int, help="tokens a sequence (4096, or the network's positions)")
    parser.add_argument("--batch-tokens", help="tokens a step, as 4M (about 1024 sequences)")
    parser.add_argument("--micro-batch", type=int, help="at most so many sequences (what fits)")
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="(bf16, or the recipe's)")
    parser.add_argument("--mfu", type=float, help="share of the peak (0.4)")
    parser.add_argument("--network-gbps", type=float, help="gigabits a second out of a node, all GPUs together")
    return parser.parse_args(arguments)


def _given(options: argparse.Namespace) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name in _ASKS if getattr(options, name) is not None]


def _by_flags(options: argparse.Namespace) -> Answer:
    from jobs.planning import request
    from jobs.planning.shape import of_model, of_size

    if options.places:
        raise InputError(f"{options.places[0]}: expected a recipe, or --parameters or --model, not both")
    shape = of_size(options.parameters) if options.parameters else of_model(options.model)
    return request.by_flags(shape, options)


def _of_recipe(place: str, options: argparse.Namespace) -> Answer:
    from jobs.planning import request
    from jobs.pretrain import PretrainRecipe

    return request.of_recipe(config.load(PretrainRecipe, place), options)


def _show_answer(answer: Answer, as_json: bool) -> int:
    if as_json:
        from jobs.planning.answer import as_json as told

        print(json.dumps(told(answer)))
        return 0
    from jobs.planning.text import lines

    print("\n".join(lines(answer)))
    return 0


def _plan(place: str) -> dict[str, Any]:
    names, stem = {stage.name: stage.job for stage in STAGES}, Path(place).stem
    job = submit.load_job(names.get(stem) or stem.partition("-")[0])
    recipe: Recipe = config.load(job.recipe, place)
    about = {"name": recipe.name, "job": job.name, "recipe": place}
    try:
        plan = job.plan(recipe)
        state = "done" if finished(job, recipe) is not None else "ready"
    except InputError as error:
        return {**about, "state": "waits", "work": [str(error)], "resources": {}}
    return {**about, "state": state, "work": plan.work, "resources": plan.resources}


if __name__ == "__main__":
    sys.exit(main())
