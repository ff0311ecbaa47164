"""jobs.pretrain from trained weights: the shape comes with them, and another tokenizer is refused before Ray starts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.job import InputError
from jobs.pretrain import PretrainRecipe, check_tokenizer
from models.network import ModelSettings, Transformer, export_model
from models.training.start import Start

SHAPE = ModelSettings(vocabulary_size=2048, hidden_size=32, layers=1, heads=2, kv_heads=1, feed_forward_size=32)
TRAINING = {"tokens": 512, "tokens_per_step": 64, "sequence_length": 32}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A token store's directory, as far as its tokenizer."""
    from tokenizers import Tokenizer, models

    directory = tmp_path_factory.mktemp("store")
    (directory / "tokenizer").mkdir()
    Tokenizer(models.BPE({"<|endoftext|>": 0, "a": 1}, [])).save(str(directory / "tokenizer/tokenizer.json"))
    (directory / "tokenizer/tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return str(directory)


@pytest.fixture(scope="module")
def export(store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "export"
    weights = Transformer(SHAPE, seed=1).state_dict()
    export_model(weights, SHAPE, tokenizer_directory=f"{store}/tokenizer", out=str(out), card="")
    return out


def recipe(store: str, export: Path, **changes: Any) -> PretrainRecipe:
    values = {
        "name": "more",
        "output": "/o",
        "tokens": store,
        "export": "/e",
        "from": str(export),
        "training": TRAINING,
    }
    return PretrainRecipe.model_validate(values | changes)


def test_the_shape_comes_with_the_weights_and_positions_may_be_extended(store: str, export: Path) -> None:
    assert recipe(store, export).model == SHAPE
    longer = recipe(store, export, model={"maximum_positions": 8192, "rope_theta": 1e6}).model
    assert (longer.maximum_positions, longer.rope_theta, longer.layers) == (8192, 1e6, 1)
    with pytest.raises(ValidationError, match="layers is 1 there, not 2"):
        recipe(store, export, model={"layers": 2})
    with pytest.raises(ValidationError, match="expected a Hugging Face directory"):
        recipe(store, export.parent)
    again = PretrainRecipe.model_validate(recipe(store, export).model_dump(mode="json", by_alias=True))
    assert again == recipe(store, export)


def test_the_same_tokenizer_is_taken_and_another_one_refused(store: str, export: Path, tmp_path: Path) -> None:
    check_tokenizer(store, Start.of(str(export)))
    other = tmp_path / "other"
    shutil.copytree(export, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps(tokenizer | {"version": "2.0"}))
    with pytest.raises(InputError, match=r"tokenizer\.json is another tokenizer than .*other/tokenizer\.json"):
        check_tokenizer(store, Start.of(str(other)))
    (other / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"other/tokenizer\.json: not there"):
        check_tokenizer(store, Start.of(str(other)))
