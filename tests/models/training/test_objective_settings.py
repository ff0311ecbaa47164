"""Objectives as a recipe names them: what is refused and how, and the ids of the store's own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from models.network import Causal, FillInTheMiddle, Masked, Mixture, Prefix, Span
from models.network.objectives import FIRST_IDS, IGNORE
from models.training.pretraining import ObjectiveSettings, PretrainingData
from pipelines.tokens import MixtureSettings, TokenizerSettings, TokensSettings, TokenStore, build
from tests.pipelines.tokens.conftest import _make as make_corpus
from tests.pipelines.tokens.conftest import prose

LONG = {"name": "span", "weight": 1, "rate": 0.5, "mean_span": 32}


def built(settings: dict[str, Any]) -> Any:
    return ObjectiveSettings.model_validate(settings).build(100, FIRST_IDS)


@pytest.mark.parametrize(
    ("settings", "expected", "architecture", "shown"),
    [
        ({}, Causal(), "decoder", "causal"),
        ({"name": "causal"}, Causal(), "decoder", "causal"),
        ({"name": "prefix"}, Prefix(), "decoder", "prefix"),
        ({"name": "fim", "rate": 0.9}, FillInTheMiddle(0.9), "decoder", "fim"),
        ({"name": "span", "rate": 0.5, "mean_span": 8}, Span(0.5, 8.0), "decoder", "span"),
        ({"name": "masked", "rate": 0.2}, Masked(100, 0.2), "encoder", "masked"),
        ({"name": "masked", "mean_span": 3.8}, Masked(100, mean_span=3.8), "encoder", "masked"),
        (
            {"mixture": {"causal": 0.5, "fim": 0.3, "span": 0.2}},
            Mixture((Causal(), FillInTheMiddle(), Span()), (0.5, 0.3, 0.2)),
            "decoder",
            "causal 0.5, fim 0.3, span 0.2",
        ),
        (
            {"name": "mixture", "mixture": {"causal": 2, "fim": 0, "short": {**LONG, "mean_span": 3}, "long": LONG}},
            Mixture((Causal(), Span(0.5, 3.0), Span(0.5, 32.0)), (2.0, 1.0, 1.0)),
            "decoder",
            "causal 0.5, short 0.25, long 0.25",
        ),
        (
            {"mixture": {"masked": 1, "long": {"name": "masked", "weight": 3, "mean_span": 4}}},
            Mixture((Masked(100), Masked(100, mean_span=4.0)), (1.0, 3.0)),
            "encoder",
            "masked 0.25, long 0.75",
        ),
    ],
)
def test_settings_make_the_objective_they_name(
    settings: dict[str, Any], expected: Any, architecture: str, shown: str
) -> None:
    read = ObjectiveSettings.model_validate(settings)
    assert read.build(100, FIRST_IDS) == expected
    assert (read.architecture, str(read)) == (architecture, shown)
    assert ObjectiveSettings.model_validate(json.loads(read.model_dump_json())) == read


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "causal", "rate": 0.2}, "rate: the causal objective has no rate"),
        ({"name": "fim", "mean_span": 2}, "mean_span: the fim objective has no mean_span"),
        ({"rate": 0.2, "mixture": {"fim": 1}}, "rate: the mixture objective has no rate"),
        ({"name": "span", "rate": 0.9}, "mean_span 3.0: out of range at rate 0.9, expected 9 or more"),
        ({"mixture": {"casual": 1}}, "casual: no objective, and there is no name; there are causal, masked, fim"),
        ({"mixture": {"fim": {"weight": 1, "rat": 1}}}, "fim.rat: Extra inputs are not permitted"),
        ({"mixture": {"fim": {"rate": 0.1}}}, "fim.weight: Field required"),
        ({"mixture": {"fim": -1, "causal": "much"}}, "fim.weight: Input should be greater.*; causal.weight: Input"),
        ({"mixture": {"fim": {"weight": 1, "mean_span": 2}}}, "fim: mean_span: the fim objective has no mean_span"),
        ({"mixture": {"span": {"weight": 1, "rate": 0.9}}}, "span: mean_span 3.0: out of range at rate 0.9"),
        ({"mixture": {"fim": 0}}, "mixture: expected objectives with weights, at least one above 0"),
        ({"name": "mixture"}, "mixture: expected objectives with weights, at least one above 0"),
        ({"name": "fim", "mixture": {"fim": 1}}, "mixture: of no use to the fim objective; expected `name: mixture`"),
        ({"mixture": {"masked": 1, "fim": 1}}, "masked needs attention both ways, fim attention to the past only"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ObjectiveSettings.model_validate(settings)


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    """A store whose tokenizer has bytes as its first 256 ids and the special tokens behind them."""
    root: Path = tmp_path_factory.mktemp("brought")
    alphabet = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(root / "tokenizer.json"))
    rows = [(f"a/{i}", "a", "en", prose(i, 40) + " 1+1=2, (1-1)=0 & 'a'!") for i in range(40)]
    settings = TokensSettings(tokenizer=TokenizerSettings(file=str(root / "tokenizer.json")), validation_fraction=0)
    build(make_corpus(root / "corpus", [rows]), str(root / "store"), settings)
    return TokenStore(str(root / "store"))


@pytest.mark.parametrize("name", ["masked", "fim", "span"])
def test_special_tokens_have_the_ids_of_the_stores_tokenizer(brought: TokenStore, name: str) -> None:
    special = brought.manifest["special_tokens"]
    objective = ObjectiveSettings(name=name, rate=0.5)  # type: ignore[arg-type]
    data = PretrainingData(brought.location, "train", 512, MixtureSettings(), objective, 0, "one_document")()
    batch = data.batch(range(40))
    inputs, labels = batch["input_ids"], batch["labels"]
    assert min(special.values()) == 256
    marks = {"masked": ["<|mask|>"], "fim": ["<|fim_suffix|>"], "span": ["<|fim_middle|>", "<|reserved_5|>"]}[name]
    assert all((inputs == special[mark]).any() for mark in marks)
    # Bytes are text here, the first sixteen too.
    targets = labels[labels != IGNORE]
    assert np.isin(targets, range(16)).any()
    if name == "masked":
        assert targets.max() < 256
        assert inputs[labels != IGNORE].max() == special["<|mask|>"]
