"""What training reads of a token store: labels within documents, and documents that cannot see each other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.network import OBJECTIVES, ModelSettings, Transformer
from models.network.objectives import IGNORE
from models.training.data import Dataset, PretrainingDataset, SourcedDataset, StagedDataset
from models.training.pretraining import ObjectiveSettings
from pipelines.tokens import MixtureSettings, Samples
from pipelines.tokens.packing import PACKINGS
from tests.pipelines.tokens.handmade import HandmadeStore

T, VOCABULARY = 32, 2048
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("temporary"))
    draw = np.random.default_rng(3)
    lengths = {"a/en": [draw.integers(1, 20, 60).tolist(), [70, 33, 100]], "b/fr": [draw.integers(2, 50, 12).tolist()]}
    yield HandmadeStore(str(tmp_path_factory.mktemp("store")), lengths)
    tempfile.tempdir = before


def dataset(store: HandmadeStore, packing: Any, objective: str = "causal") -> PretrainingDataset:
    settings = {"mixture": {"causal": 1, "fim": 1, "span": 1}} if objective == "mixture" else {"name": objective}
    made = ObjectiveSettings.model_validate(settings).build(VOCABULARY, tuple(range(16)))
    return PretrainingDataset(Samples(store, "train", T, seed=1, packing=packing), made, 1)


@pytest.fixture(scope="module")
def network() -> Transformer:
    shape = ModelSettings(
        vocabulary_size=VOCABULARY,
        hidden_size=32,
        layers=2,
        heads=4,
        kv_heads=2,
        feed_forward_size=64,
        maximum_positions=T,
    )
    model = Transformer(shape, seed=3)
    with torch.no_grad():  # larger weights than the initial ones, so that attention is far from uniform
        for weight in model.parameters():
            weight.mul_(4 if weight.ndim == 2 else 1)
    return model


def test_it_tells_where_a_stage_of_the_mixture_begins(store: Any) -> None:
    stages = [{"until_tokens": 50 * T + 3, "weights": {"a": 1}}, {"until_tokens": 70 * T}, {"weights": {"b": 1}}]
    made = ObjectiveSettings().build(VOCABULARY, tuple(range(16)))
    samples = Samples(store, "train", T, MixtureSettings.model_validate({"curriculum": stages}), seed=1)
    found = PretrainingDataset(samples, made, 1)
    assert isinstance(found, StagedDataset)
    assert list(found.borders) == [50, 70]
    assert (found.source(49), found.source(70)) == ("a", "b")
    assert list(dataset(store, "concatenate").borders) == []


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("objective", [*OBJECTIVES, "mixture"])
def test_batches_are_what_the_loop_takes(store: Any, packing: Any, objective: str) -> None:
    data = dataset(store, packing, objective)
    assert isinstance(data, Dataset)
    assert isinstance(data, SourcedDataset)
    batch = data.batch([5, 3, 10**9])
    assert batch.keys() == {"input_ids", "labels", "documents"}
    for part in batch.values():
        assert part.shape == (3, T)
        assert part.dtype == np.int64
        assert part.flags.c_contiguous
    assert (batch["labels"][batch["documents"] < 0] == IGNORE).all()


@pytest.mark.parametrize("packing", ["best_fit", "one_document"])
def test_a_pass_learns_every_token_once_and_each_first_token_from_an_end(store: Any, packing: Any) -> None:
    data = dataset(store, packing)
    batch = data.batch(range(len(data)))
    targets = batch["labels"] != IGNORE
    texts = [document for documents in store.texts.values() for document in documents]
    assert sorted(batch["labels"][targets].tolist()) == sorted(token for text in texts for token in text)
    before = dict(zip(batch["labels"][targets].tolist(), batch["input_ids"][targets].tolist(), strict=True))
    for text in texts:
        for place, token in enumerate(text[:-1]):
            assert before[token] == (text[place - 1] if place else 0)


@pytest.mark.parametrize("packing", PACKINGS)
def test_no_gradient_of_a_documents_loss_reaches_another_document(
    store: Any, network: Transformer, packing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = {name: torch.from_numpy(part) for name, part in dataset(store, packing).batch(range(12)).items()}
    embedded = network.model.embed_tokens(batch["input_ids"]).detach().requires_grad_()
    monkeypatch.setattr(network.model.embed_tokens, "forward", lambda _: embedded)
    documents, labels = batch["documents"], batch["labels"]
    seen = 0
    for number in range(int(documents.max()) + 1):
        own = documents == number
        loss, count = network.token_loss(batch["input_ids"], torch.where(own, labels, IGNORE), documents)
        (gradient,) = torch.autograd.grad(loss, embedded)
        assert (gradient[~own] == 0).all()
        if count:
            assert (gradient[own] != 0).any()
            seen += 1
    assert seen >= (1 if packing == "one_document" else 3)


@pytest.mark.parametrize("packing", PACKINGS)
@torch.no_grad()
def test_a_packed_document_is_predicted_as_if_it_were_alone(store: Any, network: Transformer, packing: Any) -> None:
    batch = {name: torch.from_numpy(part) for name, part in dataset(store, packing).batch(range(8)).items()}
    together = network(batch["input_ids"], batch["documents"])
    for row in range(8):
        for number in batch["documents"][row].unique():
            if number < 0:
                continue
            own = batch["documents"][row] == number
            alone = network(batch["input_ids"][row][own][None])
            assert (together[row][own] - alone[0]).abs().max() < 1e-4


def test_a_run_names_its_packing_and_validation_keeps_to_one(tmp_path: Path) -> None:
    from jobs.pretrain import PretrainRecipe

    recipe = PretrainRecipe.model_validate(
        {
            "name": "p",
            "output": str(tmp_path),
            "tokens": str(tmp_path),
            "export": str(tmp_path),
            "model": {"preset": "tiny"},
            "packing": "best_fit",
            "training": {"tokens": 64, "tokens_per_step": 64, "sequence_length": 16},
        }
    )
    assert recipe.data("train").packing == "best_fit"
    assert recipe.data("validation").packing == "concatenate"
