"""Windows: every example once a pass, apart from its neighbours, the loss on the answers; the order by seed."""

import pickle
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from models.finetuning import (
    ChatEncoder,
    Direction,
    EmptyError,
    Example,
    ExampleSettings,
    SupervisedDataset,
    load_dataset,
    preview,
)
from models.training.data import Dataset

LENGTH = 96


def examples(count: int) -> list[Example]:
    draw = np.random.default_rng(0)
    made = []
    for i in range(count):
        answer = f"n{i} " + "le fichier " * int(draw.integers(0, 4))
        messages = ({"role": "user", "content": f"Save {i}"}, {"role": "assistant", "content": answer})
        made.append(Example(f"file:{i}", messages))
    return made


@pytest.fixture
def dataset(tokenizer: Tokenizer) -> SupervisedDataset:
    return SupervisedDataset(examples(60), ChatEncoder(tokenizer), LENGTH, seed=5)


def pieces(batch: dict[str, np.ndarray]) -> Counter:
    """(inputs, labels) of each example in a batch."""
    found: Counter = Counter()
    for ids, labels, documents in zip(*(batch[n] for n in ("input_ids", "labels", "documents")), strict=True):
        for number in np.unique(documents):
            here = documents == number
            if (labels[here] != -100).any():
                found[ids[here].tobytes(), labels[here].tobytes()] += 1
    return found


def test_it_is_what_the_training_loop_reads(dataset: SupervisedDataset) -> None:
    assert isinstance(dataset, Dataset)
    batch = dataset.batch([0, 3])
    assert set(batch) == {"input_ids", "labels", "documents"}
    assert {(part.shape, part.dtype.name) for part in batch.values()} == {((2, LENGTH), "int64")}


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_a_pass_holds_every_example_once_with_aligned_labels(
    dataset: SupervisedDataset, tokenizer: Tokenizer, epoch: int
) -> None:
    expected: Counter = Counter()
    for example in examples(60):
        ids, learned = ChatEncoder(tokenizer).encode(example.messages)
        expected[ids[:-1].tobytes(), np.where(learned[1:], ids[1:], -100).tobytes()] += 1
    assert pieces(dataset.batch(range(epoch * len(dataset), (epoch + 1) * len(dataset)))) == expected


def test_padding_is_never_learned_and_shares_no_document(dataset: SupervisedDataset) -> None:
    batch = dataset.batch(range(len(dataset)))
    padding = batch["input_ids"] == 1
    assert padding.any()
    assert (batch["labels"][padding] == -100).all()
    for row in range(len(dataset)):
        padded = set(batch["documents"][row][padding[row]])
        assert not padded & set(batch["documents"][row][~padding[row]])


def test_windows_are_well_filled(tokenizer: Tokenizer) -> None:
    assert SupervisedDataset(examples(400), ChatEncoder(tokenizer), 256, seed=1).fill > 0.95


def test_order_depends_on_seed_and_pass_alone(dataset: SupervisedDataset, tokenizer: Tokenizer) -> None:
    size = len(dataset)
    twin = SupervisedDataset(examples(60), ChatEncoder(tokenizer), LENGTH, seed=5)
    other = SupervisedDataset(examples(60), ChatEncoder(tokenizer), LENGTH, seed=6)
    far = twin.batch([9 * size + 1])  # looking far ahead leaves the early passes as they are
    for index in (0, size - 1, size, 2 * size + 3, 9 * size + 1):
        assert np.array_equal(dataset.batch([index])["input_ids"], twin.batch([index])["input_ids"])
    assert np.array_equal(far["input_ids"], twin.batch([9 * size + 1])["input_ids"])
    first, second = (dataset.batch(range(e * size, (e + 1) * size))["input_ids"] for e in (0, 1))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[:4], other.batch(range(4))["input_ids"])


def test_a_packed_loss_is_the_sum_of_the_losses_apart(dataset: SupervisedDataset, tokenizer: Tokenizer) -> None:
    from models.network import PRESETS, Transformer

    model = Transformer(PRESETS["tiny"].model_copy(update={"vocabulary_size": 320}), seed=0)
    batch = {name: torch.from_numpy(part) for name, part in dataset.batch(range(len(dataset))).items()}
    with torch.no_grad():
        packed, count = model.token_loss(batch["input_ids"], batch["labels"], batch["documents"])
        apart = 0.0
        for example in examples(60):
            ids, learned = (torch.from_numpy(part) for part in ChatEncoder(tokenizer).encode(example.messages))
            labels = torch.where(learned[1:], ids[1:], -100)
            apart += model.token_loss(ids[None, :-1], labels[None])[0].item()
    assert packed.item() == pytest.approx(apart, rel=1e-5)
    assert count.item() == dataset.learned_tokens


def test_an_example_that_does_not_fit_is_named_or_counted(tokenizer: Tokenizer) -> None:
    long = Example("pairs.jsonl:7", (*examples(1)[0].messages[:1], {"role": "assistant", "content": "x" * 200}))
    with pytest.raises(ValueError, match=r"pairs.jsonl:7: takes \d+ positions, a window has 96"):
        SupervisedDataset([*examples(3), long], ChatEncoder(tokenizer), LENGTH, seed=0)
    kept = SupervisedDataset([*examples(3), long], ChatEncoder(tokenizer), LENGTH, seed=0, drop_too_long=True)
    assert (kept.examples, kept.dropped) == (3, 1)


def test_an_example_without_anything_to_learn_is_named(tokenizer: Tokenizer) -> None:
    silent = Example("chat.jsonl:2", ({"role": "user", "content": "hello"},))
    with pytest.raises(ValueError, match=r"chat.jsonl:2: no token of it is learned"):
        SupervisedDataset([silent], ChatEncoder(tokenizer), LENGTH, seed=0)


def test_nothing_at_all_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(EmptyError, match="no example"):
        SupervisedDataset([], ChatEncoder(tokenizer), LENGTH, seed=0)


def test_a_factory_travels_to_workers_and_makes_the_same_windows(tokenizer_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"id": "1", "en": "Save", "fr": "Enregistrer"}\n' * 3)
    settings = ExampleSettings(
        directions=(Direction(instruction="To French: {text}", source="en", target="fr"),), validation_fraction=0
    )
    text = (tokenizer_directory / "tokenizer.json").read_text()
    factory = partial(load_dataset, str(tmp_path / "pairs.jsonl"), "train", settings, text, LENGTH, 1)
    here, there = factory(), pickle.loads(pickle.dumps(factory))()
    assert np.array_equal(here.batch([0])["labels"], there.batch([0])["labels"])
    with pytest.raises(EmptyError, match=r"pairs.jsonl: validation: there is no example"):
        load_dataset(str(tmp_path / "pairs.jsonl"), "validation", settings, text, LENGTH, 1)


def test_the_preview_marks_what_is_learned(tokenizer: Tokenizer) -> None:
    one = Example("f:1", ({"role": "user", "content": "Save"}, {"role": "assistant", "content": "Enregistrer"}))
    lines = preview(SupervisedDataset([one], ChatEncoder(tokenizer), LENGTH, seed=0), tokenizer)
    assert len(lines) == 1
    assert lines[0].replace("·", "") == "<|user|>Save<|assistant|>⟦Enregistrer<|end|>⟧"
