"""Make a token store of a corpus: train the tokenizer, encode every document, split off validation text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import Field, field_validator

from jobs import config, job
from jobs.clusters.asks import Ask
from jobs.dry_run import Plan
from jobs.gauges import show, show_documents
from jobs.job import InputError, Job, Outcome, Recipe, main
from jobs.progress import Progress
from pipelines import storage
from pipelines.storage import Location
from pipelines.tokens import TokensSettings, TokenStore, build, corpus, planning
from pipelines.tokens.build import missing_units
from pipelines.tokens.fertility import OURS
from pipelines.tokens.report import describe

BYTES_A_TOKEN = 4.0
"""What a token is taken to stand for before there is a tokenizer: English text, vocabularies of some ten thousands."""


class TokenizeRecipe(TokensSettings, Recipe, extra="forbid", frozen=True):
    """What is tokenized, and how. The store goes to `<output>/tokens`."""

    corpus: Location = Field(description="the corpus that jobs.curate made")
    compare: dict[str, Location] = Field(
        default_factory=dict, description="name -> another tokenizer.json, whose bytes per token the report gives too"
    )

    @field_validator("compare")
    @classmethod
    def _names_are_free(cls, compare: dict[str, str]) -> dict[str, str]:
        if OURS in compare:
            raise ValueError(f"{OURS!r} is the name of the store's own tokenizer")
        return compare

    @property
    def tokens(self) -> str:
        """Where the token store goes."""
        return storage.join(self.output, "tokens")

    @property
    def settings(self) -> TokensSettings:
        """The store's settings alone."""
        return TokensSettings(**{name: getattr(self, name) for name in TokensSettings.model_fields})


class Tokenize(Job[TokenizeRecipe]):
    """See the module."""

    name = "tokenize"
    recipe = TokenizeRecipe

    def inputs(self, recipe: TokenizeRecipe) -> dict[str, str]:
        """The corpus by its manifest, the tokenizer brought along, and those to compare with."""
        inputs = {"corpus": job.require(storage.join(recipe.corpus, "manifest.json"), "jobs.curate")}
        if recipe.tokenizer.file:
            inputs["tokenizer"] = job.require(recipe.tokenizer.file, "whoever trained it")
        for name, location in recipe.compare.items():
            inputs[f"compare.{name}"] = job.require(location, "jobs.fetch")
        return inputs

    def plan(self, recipe: TokenizeRecipe) -> Plan:
        """Units to encode, less those done before."""
        self.inputs(recipe)
        values = _corpus_manifest(recipe)
        units, missing = missing_units(recipe.corpus, recipe.tokens, recipe.settings)
        tokenizer = recipe.tokenizer
        made = (
            f"use the tokenizer {tokenizer.file}"
            if tokenizer.file
            else f"train a byte-level BPE of {tokenizer.vocabulary_size:,} tokens on up to "
            f"{min(tokenizer.sample_bytes, values['bytes']) / 1e6:,.1f} MB"
        )
        return Plan(
            work=[
                f"{recipe.corpus}: {values['documents']:,} documents, {values['bytes'] / 1e6:,.1f} MB of text",
                made,
                f"encode {len(missing):,} of {len(units):,} units, one task of one CPU each, "
                f"{recipe.validation_fraction + recipe.test_fraction:.1%} of the documents held out",
                f"write {recipe.tokens}",
            ],
            asks=[Ask({"CPU": 1.0}, most=max(1, len(missing)))],
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What a pretraining would draw."""
        parser.add_argument(
            "--plan", metavar="PRETRAIN.yaml", help="print what a pretraining recipe's mixture and budget come to"
        )

    def instead(self, recipe: TokenizeRecipe, options: argparse.Namespace) -> Iterable[str] | None:
        """The plan of a pretraining over this store or, where it is not made yet, over the corpus."""
        return None if options.plan is None else _drawn(recipe, options.plan)

    def run(self, recipe: TokenizeRecipe) -> Outcome:
        """Build the store on Ray Data."""
        from pipelines.tokens.on_ray import OnRay

        values = _corpus_manifest(recipe)
        job.connect(recipe.node_labels)

        def counted(total: dict[str, int]) -> None:
            show_documents(recipe.name, {"tokenize/encoded": (total["documents"], total["bytes"])})
            show("groundwork_tokens", total["tokens"], run=recipe.name)

        build(recipe.corpus, recipe.tokens, recipe.settings, OnRay(), _reporter(values["bytes"]), counted)
        store = TokenStore(recipe.tokens)
        figures = describe(store, recipe.compare)
        storage.write_json(storage.join(recipe.run_directory, "tokens.json"), figures)
        splits, ratios = figures["splits"], figures["bytes_per_token"]
        languages = ", ".join(f"{language} {ratio:.2f}" for language, ratio in ratios["languages"].items())
        fertility = f"{ratios['all']:.2f} bytes a token ({languages})"
        return Outcome(
            outputs={"tokens": recipe.tokens},
            metrics={
                "vocabulary_size": figures["vocabulary_size"],
                "tokenizer_sample_bytes": figures["tokenizer_sample_bytes"],
                "bytes_per_token": ratios["all"],
                **{
                    f"{split}_{key}": splits[split][key] for split in splits for key in ("documents", "tokens", "bytes")
                },
            },
            summary=[
                f"{split}: {counts['documents']:,} documents, {counts['tokens']:,} tokens, "
                f"{counts['bytes'] / 1e6:,.1f} MB of text"
                for split, counts in splits.items()
                if counts["documents"]
            ]
            + [f"{figures['vocabulary_size']:,} tokens in the vocabulary, {fertility}"]
            + [_beside(figures["fertility"]["languages"], name) for name in recipe.compare],
        )


def _drawn(recipe: TokenizeRecipe, pretraining: str) -> Iterator[str]:
    """What a pretraining's mixture and budget come to.

    Raises InputError where there is neither store nor corpus, or the mixture does not fit what is there.
    """
    from jobs.pretrain import PretrainRecipe

    wanted = config.load(PretrainRecipe, pretraining)
    try:
        about, available = _available(recipe)
        found = planning.plan(available, wanted.mixture, wanted.training.steps * wanted.training.tokens_per_step)
        yield about
        yield from planning.lines(found)
        found.check()
    except ValueError as error:
        raise InputError(str(error)) from None


def _available(recipe: TokenizeRecipe) -> tuple[str, planning.Available]:
    """Tokens by source and language: counted where the store is made, else about what the corpus comes to."""
    if storage.exists(storage.join(recipe.tokens, "manifest.json")):
        return f"tokens of {recipe.tokens}", planning.of_store(TokenStore(recipe.tokens))
    held_out = recipe.validation_fraction + recipe.test_fraction
    about = f"{recipe.tokens} is not made yet: about {BYTES_A_TOKEN:g} bytes a token of {recipe.corpus}"
    job.require(storage.join(recipe.corpus, "manifest.json"), "jobs.curate")
    return about, planning.of_corpus(_corpus_manifest(recipe), BYTES_A_TOKEN, 1 - held_out)


def _beside(languages: dict[str, dict[str, float]], name: str) -> str:
    """Bytes per token by language, another tokenizer's and ours."""
    measured = {language: row for language, row in languages.items() if name in row}
    pairs = ", ".join(f"{language} {row[name]:.2f} / {row[OURS]:.2f}" for language, row in measured.items())
    return f"bytes a token, {name} / {OURS}, on the same texts: {pairs}"


def _reporter(total_bytes: int) -> Callable[[float, str], None]:
    """Progress lines; the clock of each phase starts with it, so that estimates are of that phase alone."""
    phases: dict[str, Progress] = {}

    def report(done: float, phase: str) -> None:
        if phase not in phases:
            phases[phase] = Progress("tokenize", total_bytes / 1e6, "MB of text")
            print(f"tokenize: {phase}", flush=True)
        phases[phase].update(done / 1e6)

    return report


def _corpus_manifest(recipe: TokenizeRecipe) -> dict[str, Any]:
    try:
        return corpus.manifest(recipe.corpus)
    except ValueError as error:
        raise InputError(str(error)) from None


JOB = Tokenize()

if __name__ == "__main__":
    sys.exit(main(JOB))
