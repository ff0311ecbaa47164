"""A token store is used only with models that mean the same by its ids."""

import json
import shutil
from pathlib import Path

import pytest

from jobs.evaluate import JOB as EVALUATE
from jobs.job import main
from models.evaluation.evaluation import Evaluation, prepare
from models.evaluation.settings import TaskSettings
from models.evaluation.vocabulary import TokenizerError, check_tokenizer
from pipelines.tokens import TokenizerSettings, TokenStore
from tests.models.evaluation.conftest import VERSES, made_store


@pytest.fixture(scope="module")
def other_store(tmp_path_factory: pytest.TempPathFactory, token_store: TokenStore) -> TokenStore:
    """As many ids, with other meanings."""
    verses = [verse[::-1] for verse in VERSES]
    store = made_store(tmp_path_factory, verses, TokenizerSettings(vocabulary_size=330, sample_bytes=60_000))
    assert store.vocabulary_size <= token_store.vocabulary_size
    return store


def copied(model: str, to: Path, tokenizer: bytes | None) -> str:
    shutil.copytree(model, to)
    (to / "tokenizer.json").unlink()
    if tokenizer is not None:
        (to / "tokenizer.json").write_bytes(tokenizer)
    return str(to)


def file_of(store: TokenStore) -> bytes:
    return Path(store.location, "tokenizer", "tokenizer.json").read_bytes()


def test_the_store_of_the_model_is_taken(
    tmp_path: Path, token_store: TokenStore, model_directory: str, encoder_directory: str, data: Path
) -> None:
    tasks = [TaskSettings(task="held_out"), TaskSettings(task="fill_mask")]
    Evaluation(model_directory, tasks, str(data), token_store.location, encoder_directory)
    byte_for_byte = copied(model_directory, tmp_path / "copy", file_of(token_store))
    assert prepare(byte_for_byte, str(data), token_store.location, 1).store is not None


def test_the_same_tokenizer_in_other_bytes_is_the_same(
    tmp_path: Path, token_store: TokenStore, model_directory: str
) -> None:
    pretty = json.dumps(json.loads(file_of(token_store)), indent=2).encode()
    assert pretty != file_of(token_store)
    check_tokenizer(token_store, copied(model_directory, tmp_path / "pretty", pretty))
    check_tokenizer(token_store, f"file://{tmp_path}/pretty")


def test_a_model_may_lack_special_tokens_that_no_document_has(
    tmp_path: Path, token_store: TokenStore, model_directory: str
) -> None:
    content = json.loads(file_of(token_store))
    for lacking, fits in (("<|reserved_5|>", True), ("<|endoftext|>", False)):
        less = json.loads(json.dumps(content))
        less["added_tokens"] = [each for each in less["added_tokens"] if each["content"] != lacking]
        less["model"]["vocab"].pop(lacking)
        model = copied(model_directory, tmp_path / str(fits), json.dumps(less).encode())
        if fits:
            check_tokenizer(token_store, model)
        else:
            with pytest.raises(TokenizerError, match=r"1 of \d+ tokens .*'<\|endoftext\|>'"):
                check_tokenizer(token_store, model)


def test_a_store_of_another_tokenizer_is_refused(
    other_store: TokenStore, model_directory: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TokenizerError, match=rf"{other_store.location}.*{model_directory}.*tokenizer\.file="):
        prepare(model_directory, str(data), other_store.location, 1)
    recipe = {"name": "measure", "output": str(tmp_path), "model": model_directory, "tokens": other_store.location}
    (tmp_path / "recipe.yaml").write_text(json.dumps({**recipe, "data": str(data), "tasks": [{"task": "held_out"}]}))
    assert main(EVALUATE, [str(tmp_path / "recipe.yaml")]) == 1
    said = capsys.readouterr().err
    assert "is another tokenizer than" in said
    assert "Traceback" not in said


def test_so_is_that_of_the_encoder(
    tmp_path: Path,
    token_store: TokenStore,
    other_store: TokenStore,
    model_directory: str,
    encoder_directory: str,
    data: Path,
) -> None:
    encoder = copied(encoder_directory, tmp_path / "encoder", file_of(other_store))
    fill_mask, held_out = TaskSettings(task="fill_mask"), TaskSettings(task="held_out")
    with pytest.raises(TokenizerError, match=r"is another tokenizer than .*/encoder/tokenizer\.json"):
        Evaluation(model_directory, [fill_mask], str(data), token_store.location, encoder)
    Evaluation(model_directory, [held_out], str(data), token_store.location, encoder)


def test_a_model_without_a_tokenizer_is_told_where_one_belongs(
    tmp_path: Path, token_store: TokenStore, model_directory: str
) -> None:
    bare = copied(model_directory, tmp_path / "bare", None)
    with pytest.raises(TokenizerError, match=r"bare/tokenizer\.json: not there.*copy the tokenizer\.json"):
        check_tokenizer(token_store, bare)
