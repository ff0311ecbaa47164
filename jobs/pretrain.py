"""Train a network on a token store: a decoder on next tokens, or an encoder on hidden ones; export it."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import Field, model_validator

from jobs import job
from jobs.clusters.asks import Ask
from jobs.dry_run import Plan
from jobs.job import InputError, Job, Outcome, Recipe, main
from jobs.training import trained, workers
from models.network import ModelSettings, expand
from models.network.layouts import layout_of
from models.training.pretraining import ObjectiveSettings, PretrainingData
from models.training.settings import TrainingSettings
from models.training.start import Start, continued
from pipelines import storage
from pipelines.storage import Location
from pipelines.tokens import MixtureSettings, Packing, TokenStore


class PretrainRecipe(Recipe, extra="forbid", frozen=True):
    """What is trained, on what, and how."""

    tokens: Location = Field(description="the token store that jobs.tokenize made")
    export: Location = Field(description="where the trained model goes, a Hugging Face directory")
    model: ModelSettings = Field(
        description="the network's shape; `preset: NAME`, `depth: N` or `parameters: N` sets what is not given"
    )
    objective: ObjectiveSettings = Field(default=ObjectiveSettings(), description="what it learns to predict")
    mixture: MixtureSettings = Field(default=MixtureSettings(), description="what is drawn from each source")
    packing: Packing = Field(
        default="concatenate",
        description="how training documents become windows: concatenate (cut at every border), best_fit (whole "
        "documents, padded), one_document (one a window, padded)",
    )
    verify_tokens: bool = Field(
        default=True, description="read all files of the store and compare checksums first: about a second a gigabyte"
    )
    training: TrainingSettings = Field(description="budget, batch, optimizer, schedule, engine, workers")
    start: Location | None = Field(
        default=None,
        alias="from",
        description="trained weights to go on from, with a new optimizer and data order: a Hugging Face directory, or "
        "another run's directory or checkpoint; `model` may then be left out, or say how positions are extended",
    )
    title: str = Field(default="groundwork base model", description="heads the model card")
    description: str = Field(default="", description="the model card's first paragraph")

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        model = expand(values.get("model"))
        if values.get("from") is not None and isinstance(model, dict | None):
            try:
                start = Start.of(storage.resolve(str(values["from"])))
            except (FileNotFoundError, ValueError) as error:
                raise ValueError(f"from: {error}") from None
            try:
                model = continued(start.settings, model or {}).model_dump()
            except ValueError as error:
                raise ValueError(f"model: {error}") from None
        return values if model is None else {**values, "model": model}

    @model_validator(mode="after")
    def _fits_together(self) -> PretrainRecipe:
        if self.model.architecture != self.objective.architecture:
            raise ValueError(
                f"objective {self.objective.name!r} trains an {self.objective.architecture}, the model's architecture "
                f"is {self.model.architecture!r}"
            )
        layout_of(self.model)
        if self.training.sequence_length > self.model.maximum_positions:
            raise ValueError(
                f"training.sequence_length {self.training.sequence_length} is more than model.maximum_positions "
                f"{self.model.maximum_positions}"
            )
        return self

    def data(self, split: str) -> PretrainingData:
        """Training data in the recipe's mixture.

        Validation data by what there is, and for decoders the next token: the same for every recipe.
        """
        train = split == "train"
        return PretrainingData(
            store=self.tokens,
            split=split,
            sequence_length=self.training.sequence_length,
            mixture=self.mixture if train else MixtureSettings(),
            objective=self.objective if train or self.objective.name == "masked" else ObjectiveSettings(),
            seed=self.seed if train else 0,
            packing=self.packing if train else "concatenate",
        )


class Pretrain(Job[PretrainRecipe]):
    """See the module."""

    name = "pretrain"
    recipe = PretrainRecipe

    def inputs(self, recipe: PretrainRecipe) -> dict[str, str]:
        """The token store by its manifest, and the weights it starts from."""
        inputs = {"tokens": job.require(storage.join(recipe.tokens, "manifest.json"), "jobs.tokenize")}
        if recipe.start is not None:
            inputs["from"] = _weights_fingerprint(Start.of(recipe.start))
        return inputs

    def plan(self, recipe: PretrainRecipe) -> Plan:
        """Sizes, passes over the sources, steps, FLOPs."""
        self.inputs(recipe)
        store = checked_store(recipe)
        training, model = recipe.training, recipe.model
        samples = training.samples_drawn
        try:
            data = recipe.data("train").samples()
            data.check(samples)
            plan, packed = data.plan(samples), data.packed()
        except ValueError as error:
            raise InputError(str(error)) from None
        drawn = ", ".join(f"{name} {each['epochs']:.2f}" for name, each in plan["sources"].items())
        flops = model.flops_per_token(training.sequence_length) * plan["tokens"]
        return Plan(
            work=[
                f"{recipe.tokens}: {store.manifest['splits']['train']['tokens']:,} training tokens",
                f"draw {plan['tokens']:,} tokens; passes over each source: {drawn}"
                + (f"; not drawn: {', '.join(plan['left_out'])}" if plan["left_out"] else ""),
                f"packing {recipe.packing}: {packed['cut']:,} of {packed['documents']:,} documents cut, "
                f"{packed['padding']:.2%} padding",
                f"train {model.architecture} of {model.parameters():,} parameters ({recipe.objective}) for "
                f"{training.steps:,} steps of {training.tokens_per_step:,} tokens: {flops:.2e} FLOPs",
                f"{training.workers_in_words}, {training.engine}"
                + (f" ZeRO {training.zero_stage}" if training.engine == "deepspeed" else "")
                + f", {training.precision}",
                f"write {recipe.export}",
            ],
            asks=self.asks(recipe),
        )

    def asks(self, recipe: PretrainRecipe) -> list[Ask]:
        """The training's workers."""
        return [workers(recipe.training)]

    def run(self, recipe: PretrainRecipe) -> Outcome:
        """Train with Ray Train, export."""
        from models.training.spec import METRICS
        from models.training.step_lines import left_out
        from models.training.timeline import told

        store = checked_store(recipe)
        training = recipe.training
        try:
            data, wanted = recipe.data("train").samples(), training.samples_drawn
            data.check(wanted)
            if recipe.verify_tokens:
                store.verify()
        except ValueError as error:
            raise InputError(str(error)) from None
        mixture = {"drawn": data.plan(wanted), "packed": data.packed()}
        storage.write_json(storage.join(recipe.run_directory, "mixture.json"), mixture)
        job.connect(recipe.node_labels)
        result = trained(
            recipe,
            training,
            model=recipe.model,
            initial_weights=recipe.start,
            dataset_factory=recipe.data("train"),
            validation_factory=recipe.data("validation"),
            token_bytes=store.token_bytes(),
            tokenizer_json=storage.read_bytes(storage.join(recipe.tokens, "tokenizer", "tokenizer.json")).decode(),
        )
        metrics = {key: value for key, value in result.metrics.items() if not isinstance(value, dict)}
        metrics["parameters"] = recipe.model.parameters()
        self._export(recipe, store, result.checkpoint, metrics)
        metrics["validation"] = result.metrics.get("validation", {})
        speed = f"{metrics['tokens_per_second']:,.0f} tokens/s"
        summary = [
            f"{recipe.model.parameters():,} parameters, {result.tokens:,} tokens in {result.steps:,} steps at {speed}",
            f"training loss {metrics['loss']:.3f} nats a target",
        ]
        if "validation_bits_per_byte" in metrics:
            by_source = ", ".join(f"{name} {value:.3f}" for name, value in metrics["validation"].items())
            hidden = " of the hidden tokens" if recipe.objective.name == "masked" else ""
            summary.append(
                f"held-out text: {metrics['validation_bits_per_byte']:.3f} bits per byte{hidden} ({by_source})"
            )
        summary += told(recipe.run_directory)
        if metrics["skipped_steps"]:
            why = left_out(storage.join(recipe.run_directory, METRICS))
            summary.append(f"{metrics['skipped_steps']} steps left out: {why}")
        return Outcome(
            outputs={"export": recipe.export, "checkpoint": result.checkpoint}, metrics=metrics, summary=summary
        )

    def _export(self, recipe: PretrainRecipe, store: TokenStore, checkpoint: str, metrics: dict[str, Any]) -> None:
        from models.network.card import model_card
        from models.training.conversion import export_on_ray

        inputs = self.inputs(recipe)
        training = recipe.training
        sources = store.manifest["splits"]["train"]["sources"]
        languages = sorted({language for each in sources.values() for language in each.get("languages", {})})
        shown = ("tokens_per_step", "sequence_length", "learning_rate", "schedule", "weight_decay", "precision")
        card = model_card(
            title=recipe.title,
            settings=recipe.model,
            description=recipe.description
            or f"Pretrained from scratch with the objective {recipe.objective} on {metrics['tokens']:,} tokens.",
            languages=languages,
            training={
                "objective": str(recipe.objective),
                **{key: metrics[key] for key in ("tokens", "steps", "workers")},
                **{key: getattr(training, key) for key in shown},
                "zero_stage": training.zero_stage,
                "seed": recipe.seed,
            },
            evaluation={key: value for key, value in metrics.items() if key.startswith("validation")},
            data=f"Token store with manifest {inputs['tokens']}…, of the corpus with manifest "
            f"{store.manifest['corpus']}…:\n\n"
            + "\n".join(f"- `{name}`: {each['tokens']:,} tokens" for name, each in sources.items()),
        )
        plan = recipe.data("train").samples().plan(training.samples_drawn)
        lineage = {
            "job": self.name,
            "recipe": recipe.model_dump(mode="json"),
            "inputs": inputs,
            "tokens": {"manifest": inputs["tokens"], **{k: store.manifest[k] for k in ("tokenizer", "corpus")}},
            "drawn": plan,
        }
        export_on_ray(
            checkpoint,
            recipe.model,
            # Not the store's local copy: the task runs on another machine.
            tokenizer_directory=storage.join(recipe.tokens, "tokenizer"),
            out=recipe.export,
            card=card,
            lineage=lineage,
            labels=recipe.node_labels,
        )


def checked_store(recipe: PretrainRecipe) -> TokenStore:
    """The recipe's token store.

    Raises:
        InputError: it is not as its manifest says, or its vocabulary is larger than the model's.
    """
    try:
        store = TokenStore(recipe.tokens)
    except ValueError as error:
        raise InputError(str(error)) from None
    if store.vocabulary_size > recipe.model.vocabulary_size:
        raise InputError(
            f"{recipe.tokens}: has {store.vocabulary_size:,} token ids, model.vocabulary_size is "
            f"{recipe.model.vocabulary_size:,}; set model.vocabulary_size={store.vocabulary_size}"
        )
    if recipe.start is not None:
        check_tokenizer(store.location, Start.of(recipe.start))
    return store


def check_tokenizer(tokens: str, start: Start) -> None:
    """Raise InputError unless the weights were trained on the token ids of this store."""
    own = storage.join(tokens, "tokenizer", "tokenizer.json")
    theirs = start.tokenizer
    if start.kind == "checkpoint":
        theirs = storage.join(start.tokenizer, "tokenizer", "tokenizer.json")
    if not storage.exists(theirs):
        raise InputError(f"{theirs}: not there, so {own} cannot be held against it")
    if storage.file_fingerprint(own) != storage.file_fingerprint(theirs):
        raise InputError(
            f"{own} is another tokenizer than {theirs}: the weights know other token ids; make the store with "
            f"tokenizer.file: {theirs}"
        )


def _weights_fingerprint(start: Start) -> str:
    if start.kind == "checkpoint":
        return storage.file_fingerprint(storage.join(start.location, "meta.json"))
    return job.require_weights(start.location, "jobs.pretrain")


JOB = Pretrain()

if __name__ == "__main__":
    sys.exit(main(JOB))
