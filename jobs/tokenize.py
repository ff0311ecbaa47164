"""Make a token store of a corpus: train the tokenizer, encode every document, split off validation text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pydantic import Field

from jobs import job
from jobs.job import InputError, Job, Outcome, Plan, Recipe, main
from jobs.progress import Progress
from pipelines import storage
from pipelines.storage import Location
from pipelines.tokens import TokensSettings, TokenStore, build, corpus
from pipelines.tokens.build import missing_units
from pipelines.tokens.report import describe


class TokenizeRecipe(TokensSettings, Recipe, extra="forbid", frozen=True):
    """What is tokenized, and how. The store goes to `<output>/tokens`."""

    corpus: Location = Field(description="the corpus that jobs.curate made")

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
        """The corpus by its manifest, and the tokenizer brought along."""
        inputs = {"corpus": job.require(storage.join(recipe.corpus, "manifest.json"), "jobs.curate")}
        if recipe.tokenizer.file:
            inputs["tokenizer"] = job.require(recipe.tokenizer.file, "whoever trained it")
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
                f"{recipe.validation_fraction:.1%} of the documents held out",
                f"write {recipe.tokens}",
            ],
            resources={"CPU": 1.0},
        )

    def run(self, recipe: TokenizeRecipe) -> Outcome:
        """Build the store on Ray Data."""
        from pipelines.tokens.on_ray import OnRay

        values = _corpus_manifest(recipe)
        job.connect()
        build(recipe.corpus, recipe.tokens, recipe.settings, OnRay(), _reporter(values["bytes"]))
        store = TokenStore(recipe.tokens)
        figures = describe(store)
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
            ]
            + [f"{figures['vocabulary_size']:,} tokens in the vocabulary, {fertility}"],
        )


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
