"""Search learning rate, batch and weight decay on a small proxy; write the pretraining recipe that uses them."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from jobs import config, job
from jobs.clusters.asks import Ask
from jobs.config import RecipeError
from jobs.dry_run import Plan
from jobs.gauges import show_trials
from jobs.job import InputError, Job, Outcome, Recipe, main
from jobs.pretrain import PretrainRecipe
from jobs.progress import Progress
from models.network import expand
from models.training.pretraining import PretrainingData
from models.tuning import SearchSettings, Trial, best_of, search_on_ray, trial_settings
from pipelines import storage
from pipelines.storage import Location
from pipelines.tokens import TokenStore


class TuneRecipe(Recipe, extra="forbid", frozen=True):
    """What is searched, for which run."""

    target: PretrainRecipe = Field(
        description="the run to find settings for: its recipe, or `recipe: FILE` and the keys that differ from it"
    )
    recipe: Location = Field(description="where the pretraining recipe with the found settings is written")
    search: SearchSettings = Field(description="space, proxy, budget")

    @field_validator("target", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "recipe" not in value:
            return value
        words = [f"{key}={json.dumps(each)}" for key, each in _flat({k: v for k, v in value.items() if k != "recipe"})]
        try:
            return config.load(PretrainRecipe, _recipe_file(str(value["recipe"])), words)
        except RecipeError as error:
            raise ValueError(str(error)) from None

    @field_validator("search", mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "proxy" not in value:
            return value
        return {**value, "proxy": expand(value["proxy"])}

    @model_validator(mode="after")
    def _fits_together(self) -> TuneRecipe:
        proxy, target = self.search.proxy, self.target.model
        for key in ("architecture", "vocabulary_size"):
            if getattr(proxy, key) != getattr(target, key):
                raise ValueError(
                    f"search.proxy.{key} is {getattr(proxy, key)!r}, the target's is {getattr(target, key)!r}"
                )
        for batch in self.search.space.tokens_per_step:
            try:
                self.target.training.model_validate(self.target.training.model_dump() | {"tokens_per_step": batch})
            except ValueError as error:
                raise ValueError(f"search.space.tokens_per_step: {batch} does not fit the target: {error}") from None
        return self

    def data(self, split: str) -> PretrainingData:
        """The target's data: the same in every trial."""
        return self.target.data(split)


class Tune(Job[TuneRecipe]):
    """See the module."""

    name = "tune"
    recipe = TuneRecipe

    def inputs(self, recipe: TuneRecipe) -> dict[str, str]:
        """The token store by its manifest."""
        return {"tokens": job.require(storage.join(recipe.target.tokens, "manifest.json"), "jobs.tokenize")}

    def plan(self, recipe: TuneRecipe) -> Plan:
        """Trials, rungs, and how many tokens."""
        self.inputs(recipe)
        search, target = recipe.search, recipe.target
        rungs = ", ".join(f"{rung:,}" for rung in search.rungs)
        flops = search.planned_tokens * search.proxy.flops_per_token(target.training.sequence_length)
        return Plan(
            work=[
                f"{search.trials} trials of a proxy of {search.proxy.parameters():,} parameters "
                f"(target: {target.model.parameters():,}), compared at {rungs} tokens",
                f"{search.planned_tokens:,} tokens in all, {flops:.2e} FLOPs",
                f"write {recipe.recipe}",
            ],
            asks=self.asks(recipe),
        )

    def asks(self, recipe: TuneRecipe) -> list[Ask]:
        """The trials at once; with `concurrent` 0 as many as there are CPUs when a rung begins."""
        search = recipe.search
        return [Ask({"CPU": 1.0}, search.concurrent or 1, None if search.concurrent else search.trials)]

    def run(self, recipe: TuneRecipe) -> Outcome:
        """Search on Ray Tune, write the recipe."""
        search, target = recipe.search, recipe.target
        store = TokenStore(target.tokens)
        if store.vocabulary_size > search.proxy.vocabulary_size:
            raise InputError(
                f"{target.tokens}: {store.vocabulary_size:,} token ids do not fit search.proxy.vocabulary_size "
                f"{search.proxy.vocabulary_size:,}"
            )
        job.connect(recipe.node_labels)
        records = storage.join(recipe.run_directory, "ray")
        storage.remove(records)
        progress = Progress(recipe.name, search.planned_tokens, "tokens")
        trials = search_on_ray(
            search,
            target.training,
            recipe.data("train"),
            recipe.data("validation"),
            store.token_bytes(),
            records,
            recipe.name,
            recipe.seed,
            progress.update,
            recipe.node_labels,
            lambda trials: _tell(recipe, trials),
        )
        _tell(recipe, trials)
        best = best_of(trials)
        rows = [
            {
                "trial": trial.number,
                "config": trial.config,
                "rungs": trial.rungs,
                "final": trial.final,
                "bits_per_byte": trial.final,
                "tokens": trial.rungs[-1]["tokens"] if trial.rungs else 0,
                "stopped_early": trial.stopped_early,
                "diverged": trial.diverged,
                "best": trial is best,
            }
            for trial in trials
        ]
        storage.write_json(storage.join(recipe.run_directory, "trials.json"), rows)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        storage.write_bytes(storage.join(recipe.run_directory, "trials.jsonl"), lines.encode())
        storage.remove(records)
        winner = trial_settings(target.training, search, best.config, search.tokens)
        found = search.transferred(target.training, winner, target.model)
        tuned = target.model_copy(update={"training": found})
        head = (
            f"# Written by jobs.tune: the best of {len(trials)} trials on a proxy of width {search.proxy.hidden_size} "
            f"(learning rate there {best.config['learning_rate']:g}).\n"
        )
        storage.write_bytes(recipe.recipe, (head + config.dump(tuned)).encode())
        stopped = sum(trial.stopped_early for trial in trials)
        metrics = {
            "trials": len(trials),
            "stopped_early": stopped,
            "diverged": sum(trial.diverged for trial in trials),
            "tokens": int(sum(rung["tokens"] for trial in trials for rung in trial.rungs)),
            "best": best.config,
            "best_bits_per_byte": best.final,
            "learning_rate": found.learning_rate,
            "tokens_per_step": found.tokens_per_step,
            "weight_decay": found.weight_decay,
        }
        return Outcome(
            outputs={"recipe": recipe.recipe},
            metrics=metrics,
            summary=[
                f"{len(trials)} trials, {stopped} stopped early, best {best.final:.3f} bits per byte on the proxy",
                f"for the target: learning rate {found.learning_rate:g}, {found.tokens_per_step:,} tokens a step, "
                f"weight decay {found.weight_decay:g}",
            ],
        )


def _tell(recipe: TuneRecipe, trials: list[Trial]) -> None:
    """The trials as they stand: into the file that `jobs.status` reads, and the gauges."""
    finals = [trial.final for trial in trials if trial.rungs and not trial.diverged]
    show_trials(recipe.name, (trial.state for trial in trials), min(finals, default=None))
    rows = [
        {
            "trial": trial.number,
            "state": trial.state,
            "config": trial.config,
            "tokens": trial.rungs[-1]["tokens"] if trial.rungs else 0,
            "objective": trial.final if trial.rungs else None,
        }
        for trial in trials
    ]
    # Storage that refuses does not stop the search: this is written again with the next report.
    with contextlib.suppress(OSError):
        storage.write_json(storage.join(recipe.run_directory, SEARCH), {"trials": rows, "time": time.time()})


SEARCH = "search.json"
"""Of the run directory: the trials as they stand."""


def _recipe_file(name: str) -> str:
    """A recipe by its URI, or its path from here or from groundwork's own directory."""
    return name if "://" in name or Path(name).exists() else str(storage.checkout() / name)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found


JOB = Tune()

if __name__ == "__main__":
    sys.exit(main(JOB))
