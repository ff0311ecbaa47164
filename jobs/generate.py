"""Continue prompts with a model, the safety filter on: prompts and outputs are checked, listed words are not written.

python -m jobs.generate jobs/recipes/quickstart/generate.yaml prompts='["Once upon a time"]' --force
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from pydantic import Field

from jobs.clusters.asks import Ask
from jobs.dry_run import Plan
from jobs.evaluate import actors
from jobs.job import Job, Outcome, Recipe, connect, main, require, require_weights
from models.evaluation.continuations import DecodingSettings
from models.evaluation.safety import FilterSettings
from models.evaluation.settings import RunSettings
from pipelines import storage
from pipelines.storage import Location


class GenerateRecipe(Recipe, frozen=True):
    """What is continued, and how."""

    model: Location = Field(description="a causal model in Hugging Face format")
    prompts: list[str] = Field(min_length=1, description="texts; a chat model gets each as a user's message")
    decoding: DecodingSettings = DecodingSettings()
    safety: FilterSettings = FilterSettings()
    run: RunSettings = RunSettings()


class Generate(Job[GenerateRecipe]):
    """The job."""

    name = "generate"
    recipe = GenerateRecipe

    def inputs(self, recipe: GenerateRecipe) -> dict[str, str]:
        """The model's configuration and weights."""
        made_by = "jobs.pretrain or jobs.finetune"
        config = require(storage.join(recipe.model, "config.json"), made_by)
        return {"config.json": config, "weights": require_weights(recipe.model, made_by)}

    def plan(self, recipe: GenerateRecipe) -> Plan:
        """One line."""
        filtered = "on" if recipe.safety.enabled else "off"
        work = f"{len(recipe.prompts)} prompts, {recipe.decoding.max_new_tokens} new tokens each, filter {filtered}"
        return Plan([work], self.asks(recipe))

    def asks(self, recipe: GenerateRecipe) -> list[Ask]:
        """The processes that hold the model."""
        return [actors(recipe.run)]

    def run(self, recipe: GenerateRecipe) -> Outcome:
        """Generate, write `generations.jsonl`, print."""
        from models.evaluation.continuations import continuations

        connect(recipe.node_labels)
        made = continuations(recipe.model, recipe.prompts, recipe.decoding, recipe.safety, recipe.run, recipe.seed)
        location = storage.join(recipe.run_directory, "generations.jsonl")
        lines = [json.dumps(asdict(each), ensure_ascii=False) for each in made]
        storage.write_bytes(location, "".join(f"{line}\n" for line in lines).encode())
        summary = []
        for each in made:
            shown = f"[withheld: {each.reason}]" if each.blocked else each.text
            summary.append(f"> {_line(each.prompt)} … {_line(shown)}")
        blocked = sum(each.blocked for each in made)
        unscored = sum(each.toxicity is None for each in made)
        metrics = {"prompts": len(made), "blocked": blocked, "unscored": unscored}
        return Outcome({"generations": location}, metrics, summary)


def _line(text: str) -> str:
    """A text on one line."""
    return text.replace("\n", "\\n")


JOB = Generate()

if __name__ == "__main__":
    sys.exit(main(JOB))
