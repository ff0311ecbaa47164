"""A model at a URI answers as it does from a directory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from models.evaluation import evaluation
from models.evaluation.requests import Batch, Decoding, Request
from models.evaluation.runner import Answerer
from models.evaluation.settings import TaskSettings
from pipelines import storage
from pipelines.tokens import TokenStore
from tests.unsteady import serving

REQUESTS = {
    "loglikelihood": Request("loglikelihood", [20, 21, 22], [23, 24]),
    "generate": Request("generate", [20, 21, 22], decoding=Decoding(max_new_tokens=8)),
    "fill": Request("fill", [20, 2, 22], [-100, 21, -100]),
}


@pytest.fixture(scope="module", params=["file", "s3"])
def models(request: pytest.FixtureRequest, model_directory: str, encoder_directory: str) -> Iterator[tuple[str, str]]:
    """Where the model and the encoder are."""
    if request.param == "file":
        yield f"file://{model_directory}", f"file://{encoder_directory}"
        return
    with serving():
        for name, directory in {"model": model_directory, "encoder": encoder_directory}.items():
            files, path = storage.filesystem(f"s3://bucket/{name}")
            pafs.copy_files(directory, path, destination_filesystem=files)
        yield "s3://bucket/model", "s3://bucket/encoder"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_an_actor_answers_the_same(
    models: tuple[str, str], model_directory: str, encoder_directory: str, temporary: Path
) -> None:
    far, near = Answerer(*models), Answerer(model_directory, encoder_directory)
    for request in REQUESTS.values():
        batch = Batch([0], [request])
        assert far.answer(batch) == near.answer(batch)
    assert not [path for path in temporary.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_tasks_are_made_with_its_tokenizer_and_without_its_weights(
    models: tuple[str, str], model_directory: str, data: Path, token_store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tokens import cache

    copied, real = [], cache.copy
    monkeypatch.setattr(cache, "copy", lambda location, to: (copied.append(location), real(location, to))[1])
    tasks = [TaskSettings(task="completion", limit=2)]
    far, near = (
        evaluation.Evaluation(each, tasks, str(data), token_store.location) for each in (models[0], model_directory)
    )
    assert far.requests == near.requests
    assert not [location for location in copied if location.endswith(".safetensors")]


def test_a_place_without_a_model_is_named(models: tuple[str, str], data: Path) -> None:
    nowhere = f"{models[0]}/nowhere"
    with pytest.raises(ValueError, match=f"{nowhere}: no config.json"):
        evaluation.prepare(nowhere, str(data), None, 1)
