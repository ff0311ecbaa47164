"""Tune a pretrained model on pairs or conversations: an export that answers, with its chat template."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from pydantic import Field

from jobs import job
from jobs.clusters.asks import Ask
from jobs.dry_run import Plan
from jobs.job import InputError, Job, Outcome, Recipe, main
from jobs.training import trained, workers
from models.finetuning import CHAT_TEMPLATE, END, EmptyError, ExampleSettings, SupervisedDataset, load_dataset, preview
from models.network import ModelSettings
from models.training.settings import TrainingSettings
from pipelines import storage
from pipelines.storage import Location


class FinetuneRecipe(Recipe, extra="forbid", frozen=True):
    """What is tuned, on what, and how."""

    model: Location = Field(description="a Hugging Face directory: the export of jobs.pretrain, or a Llama model")
    data: Location = Field(description="JSON lines of pairs or conversations")
    export: Location = Field(description="where the tuned model goes, a Hugging Face directory")
    examples: ExampleSettings = Field(description="how a row becomes a conversation, and which rows are held out")
    drop_too_long: bool = Field(
        default=False, description="leave out examples longer than training.sequence_length instead of refusing them"
    )
    training: TrainingSettings = Field(description="budget (padding and prompts count), batch, optimizer, workers")
    title: str = Field(default="groundwork specialist", description="heads the model card")
    description: str = Field(default="", description="the model card's first paragraph")
    languages: tuple[str, ...] = Field(default=(), description="ISO 639-1 codes, for the model card")
    license: str | None = Field(default=None, description="of data and weights, for the model card; none: not stated")


class Finetune(Job[FinetuneRecipe]):
    """See the module."""

    name = "finetune"
    recipe = FinetuneRecipe

    def inputs(self, recipe: FinetuneRecipe) -> dict[str, str]:
        """The base model by its weights and tokenizer, and the data."""
        return {
            "model": job.require_weights(recipe.model, "jobs.pretrain"),
            "tokenizer": job.require(storage.join(recipe.model, "tokenizer.json"), "jobs.pretrain"),
            "data": job.require(recipe.data, "jobs.fetch"),
        }

    def plan(self, recipe: FinetuneRecipe) -> Plan:
        """Passes over the examples, and steps."""
        self.inputs(recipe)
        training = recipe.training
        dataset = _load(recipe, "train")
        epochs = training.tokens / (len(dataset) * training.sequence_length)
        return Plan(
            work=[
                f"{recipe.data}: {dataset.examples:,} examples, {dataset.learned_tokens:,} learned tokens, "
                f"{dataset.dropped:,} too long; {len(dataset):,} windows, {dataset.fill:.0%} full",
                f"tune {recipe.model} for {training.steps:,} steps of {training.tokens_per_step:,} tokens: "
                f"{epochs:.1f} passes, on {training.workers_in_words}",
                f"write {recipe.export}",
            ],
            asks=self.asks(recipe),
        )

    def asks(self, recipe: FinetuneRecipe) -> list[Ask]:
        """The training's workers."""
        return [workers(recipe.training)]

    def run(self, recipe: FinetuneRecipe) -> Outcome:
        """Tune with Ray Train, export."""
        from models.network.configuration import import_settings
        from models.training.spec import VALIDATION_BEFORE
        from models.training.timeline import told

        settings = import_settings(recipe.model)
        dataset, validation = _load(recipe, "train"), _load_validation(recipe)
        lines = preview(dataset, _tokenizer(recipe), 0)
        storage.write_bytes(storage.join(recipe.run_directory, "preview.txt"), "\n".join(lines).encode() + b"\n")
        job.connect(recipe.node_labels)
        result = trained(
            recipe,
            recipe.training,
            model=settings,
            initial_weights=recipe.model,
            dataset_factory=_factory(recipe, "train"),
            validation_factory=None if validation is None else _factory(recipe, "validation"),
            token_bytes=None,
        )
        epochs = result.tokens / (len(dataset) * recipe.training.sequence_length)
        metrics: dict[str, Any] = {
            "examples": dataset.examples,
            "learned_tokens": dataset.learned_tokens,
            "too_long": dataset.dropped,
            "passes": round(epochs, 2),
            "steps": result.steps,
            "tokens": result.tokens,
            "tokens_per_second": result.metrics.get("tokens_per_second"),
        }
        summary = [
            f"{dataset.examples:,} examples ({dataset.learned_tokens:,} learned tokens), {epochs:.1f} passes in "
            f"{result.steps:,} steps"
        ]
        after = result.metrics.get("validation_loss")
        if validation is not None and after is not None:
            metrics["validation_loss"] = round(after, 4)
            seen = min(len(validation), recipe.training.validation_sequences)
            told_loss = f"{after:.3f} nats"
            # A run that began without validation does not know what was before.
            if (before := result.metrics.get(VALIDATION_BEFORE, {}).get("validation_loss")) is not None:
                metrics["validation_loss_before"] = round(before, 4)
                told_loss = f"{before:.3f} nats before, {after:.3f} after"
            summary.append(f"loss on {_held_out(validation, seen)}: {told_loss}")
        summary += told(recipe.run_directory)
        self._export(recipe, settings, result.checkpoint, metrics)
        return Outcome(outputs={"export": recipe.export}, metrics=metrics, summary=summary)

    def _export(
        self, recipe: FinetuneRecipe, settings: ModelSettings, checkpoint: str, metrics: dict[str, Any]
    ) -> None:
        from models.network.card import model_card
        from models.training.conversion import export_on_ray

        inputs = self.inputs(recipe)
        training = recipe.training.model_dump(
            include={"tokens_per_step", "learning_rate", "schedule", "weight_decay", "precision", "zero_stage"}
        )
        card = model_card(
            title=recipe.title,
            settings=settings,
            description=recipe.description or f"Tuned on {recipe.data.rsplit('/', 1)[-1]}.",
            languages=recipe.languages,
            license_name=recipe.license,
            training={
                **{k: metrics[k] for k in ("examples", "passes", "steps", "tokens")},
                **training,
                "seed": recipe.seed,
            },
            evaluation={k: v for k, v in metrics.items() if k.startswith("validation") and v is not None},
            data=f"`{recipe.data.rsplit('/', 1)[-1]}` (SHA-256 {inputs['data']}…), the loss on the answers only. The "
            f"conversations are written with the chat template that is stored with the model:\n\n"
            + "\n".join(f"- `{each.instruction}`" for each in recipe.examples.directions),
            base_model=recipe.model.rsplit("/", 1)[-1],
        )
        above = storage.join(recipe.model, "lineage.json")
        lineage = {
            "job": self.name,
            "recipe": recipe.model_dump(mode="json"),
            "inputs": inputs,
            "base": storage.read_json(above) if storage.exists(above) else None,
        }
        export_on_ray(
            checkpoint,
            settings,
            tokenizer_directory=recipe.model,
            out=recipe.export,
            card=card,
            lineage=lineage,
            chat_template=CHAT_TEMPLATE,
            end_tokens=(END,),
            labels=recipe.node_labels,
        )


def _factory(recipe: FinetuneRecipe, split: Any) -> Callable[[], SupervisedDataset]:
    return functools.partial(
        load_dataset,
        recipe.data,
        split,
        recipe.examples,
        storage.read_bytes(storage.join(recipe.model, "tokenizer.json")).decode(),
        recipe.training.sequence_length,
        recipe.seed,
        recipe.drop_too_long,
    )


def _load(recipe: FinetuneRecipe, split: str) -> SupervisedDataset:
    try:
        return _factory(recipe, split)()
    except ValueError as error:
        raise InputError(str(error)) from None


def _load_validation(recipe: FinetuneRecipe) -> SupervisedDataset | None:
    """The held-out examples; none when nothing is held out, or nothing of so few rows."""
    try:
        return _factory(recipe, "validation")()
    except EmptyError:
        return None
    except ValueError as error:
        raise InputError(str(error)) from None


def _held_out(validation: SupervisedDataset, seen: int) -> str:
    whole = f"{validation.examples:,} held-out examples"
    return whole if seen == len(validation) else f"{seen:,} of the {len(validation):,} windows of {whole}"


def _tokenizer(recipe: FinetuneRecipe) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(storage.read_bytes(storage.join(recipe.model, "tokenizer.json")).decode())


JOB = Finetune()

if __name__ == "__main__":
    sys.exit(main(JOB))
