"""The job's own part: the quickstart's recipe, the plan, clear refusals. What it builds is tested beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import config
from jobs.job import main
from jobs.tokenize import JOB, TokenizeRecipe
from pipelines import storage
from pipelines.tokens import TokenStore, build

RECIPE = storage.checkout() / "jobs" / "recipes" / "quickstart" / "tokenize.yaml"


def test_the_quickstart_recipe_reads_back_as_it_was() -> None:
    recipe = config.load(TokenizeRecipe, RECIPE)
    assert recipe.tokenizer.vocabulary_size == 4096
    assert recipe.tokens == storage.join(recipe.output, "tokens")
    assert recipe.settings.model_dump().items() <= recipe.model_dump().items()


@pytest.fixture
def recipe(tmp_path: Path, store: TokenStore) -> str:
    """The quickstart's, comparing with a tokenizer that is there."""
    path = tmp_path / "tokenize.yaml"
    other = f"{store.location}/tokenizer/tokenizer.json"
    path.write_text(f"base: {RECIPE}\ncompare: {{gpt2: {other}, cl100k: {other}}}\n")
    return str(path)


def test_the_plan_counts_what_is_left(
    tmp_path: Path, corpus_location: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [recipe, f"corpus={corpus_location}", f"output={tmp_path}", "unit_bytes=20000"]
    words += ["tokenizer.vocabulary_size=320", "tokenizer.sample_bytes=60000", "--dry-run"]
    assert main(JOB, words) == 0
    before = capsys.readouterr().out
    loaded = config.load(TokenizeRecipe, recipe, words[1:-1])
    build(loaded.corpus, loaded.tokens, loaded.settings)
    assert main(JOB, words) == 0
    after = capsys.readouterr().out
    assert "train a byte-level BPE of 320 tokens on up to 0.1 MB" in before
    assert "encode 0 of" not in before
    assert "encode 0 of" in after


def test_a_missing_corpus_and_a_wrong_key_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(JOB, [str(RECIPE), f"corpus={tmp_path}/none", f"output={tmp_path}"]) == 2
    assert "it is made by jobs.curate" in capsys.readouterr().err
    assert main(JOB, [str(RECIPE), f"output={tmp_path}", "tokenizer.vocabulary=5"]) == 2
    assert "did you mean 'vocabulary_size'" in capsys.readouterr().err
    assert main(JOB, [str(RECIPE), f"output={tmp_path}", "tokenizer.vocabulary_size=100"]) == 2
    assert "greater than or equal to 272" in capsys.readouterr().err


def test_tokenizers_to_compare_with_are_inputs(
    tmp_path: Path, corpus_location: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [recipe, f"corpus={corpus_location}", f"output={tmp_path}"]
    inputs = JOB.inputs(config.load(TokenizeRecipe, recipe, words[1:]))
    assert set(inputs) == {"corpus", "compare.gpt2", "compare.cl100k"}
    assert main(JOB, [*words, f"compare.gpt2={tmp_path}/none.json"]) == 2
    assert "none.json: not there; it is made by jobs.fetch" in capsys.readouterr().err
    assert main(JOB, [*words, "compare.ours=a.json"]) == 2
    assert "'ours' is the name of the store's own tokenizer" in capsys.readouterr().err
