"""Objectives: pure functions of (seed, sample id), labels aligned with the logits and within their document."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.network import OBJECTIVES, Mixture, Objective, build
from models.network.objectives import IGNORE, MASK, NO_DOCUMENT, PAD, SENTINELS, SPECIAL_TOKENS
from models.network.objectives.chance import keys, uniform
from pipelines.tokens import SPECIAL_TOKENS as NAMES
from tests.models.network.windows import VOCABULARY, window

ALL = (*OBJECTIVES, "mixture")
HIDING = ("masked", "fim", "span", "mixture")


def objective(name: str, **settings: Any) -> Objective:
    if name == "mixture":
        parts = tuple(
            objective(part, **settings if part in ("fim", "span") else {}) for part in ("causal", "fim", "span")
        )
        return Mixture(parts, (0.4, 0.3, 0.3))
    return build(name, **settings, **({"vocabulary_size": VOCABULARY} if name == "masked" else {}))


def test_special_tokens_are_the_tokenizers() -> None:
    assert len(NAMES) == SPECIAL_TOKENS
    assert (NAMES[PAD], NAMES[MASK]) == ("<|pad|>", "<|mask|>")
    assert [NAMES[token] for token in SENTINELS] == [f"<|reserved_{number}|>" for number in range(len(SENTINELS))]


def test_draws_are_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    found = [uniform(np.uint64(1234567), number) for number in range(1, 5)]
    assert found == [(value >> 11) / 2**53 for value in published]


def test_keys_differ_between_samples_and_seeds() -> None:
    ids = [*range(1000), *range(2**40, 2**40 + 1000), 2**62]
    every = np.concatenate([keys(seed, ids) for seed in (-1, 0, 1, 2, 2**63, 2**100 + 7)])
    assert len(np.unique(every)) == len(every)


@pytest.mark.parametrize("name", ALL)
@given(seed=st.integers(0, 2**32), sample=st.integers(0, 2**48))
def test_a_sample_is_a_function_of_seed_and_number_alone(name: str, seed: int, sample: int) -> None:
    tokens, documents = window(40)
    kept = tokens.copy(), documents.copy()
    first = objective(name)(tokens, documents, seed, sample)
    objective(name)(*window(40, seed=5), seed + 1, sample + 1)
    again = objective(name)(tokens, documents, seed, sample)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert np.array_equal(tokens, kept[0])
    assert np.array_equal(documents, kept[1])
    assert [part.shape for part in first] == [(39,)] * 3
    assert [part.dtype for part in first] == [np.int64] * 3


@pytest.mark.parametrize("name", ["masked", "fim", "span", "prefix"])
def test_samples_and_seeds_differ(name: str) -> None:
    tokens, documents = window()
    made = [objective(name)(tokens, documents, seed, k) for seed in (1, 2) for k in (1, 2)]
    assert len({inputs.tobytes() + labels.tobytes() for inputs, labels, _ in made}) == 4


@pytest.mark.parametrize("name", ALL)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 5), kind=st.sampled_from([np.int32, np.int64]))
def test_a_batch_is_its_samples_however_workers_share_it(name: str, seed: int, workers: int, kind: Any) -> None:
    windows = [window(50, seed + row) for row in range(6)]
    tokens = np.stack([tokens for tokens, _ in windows])
    documents = np.stack([numbers for _, numbers in windows]).astype(kind)
    documents[0, 30:] = NO_DOCUMENT
    ids = [seed + 3 * row for row in range(6)]
    together = objective(name).batch(tokens, documents, seed, ids)
    assert all(part.dtype == np.int64 and part.flags.c_contiguous for part in together)
    for rank in range(workers):
        mine = slice(rank, None, workers)
        shared = objective(name).batch(tokens[mine], documents[mine], seed, ids[mine])
        assert all(np.array_equal(part[mine], own) for part, own in zip(together, shared, strict=True))
    alone = objective(name)(tokens[0], documents[0], seed, ids[0])
    assert all(np.array_equal(part[0], own) for part, own in zip(together, alone, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_what_belongs_to_no_document_is_no_target_and_is_left_alone(name: str) -> None:
    for sample in range(40):
        tokens, documents = window(60, sample)
        documents[0], documents[25], documents[40:] = NO_DOCUMENT, NO_DOCUMENT, NO_DOCUMENT
        tokens[41:] = PAD
        inputs, labels, numbers = objective(name)(tokens, documents, 1, sample)
        assert np.array_equal(numbers, documents[1:])
        assert (labels[numbers == NO_DOCUMENT] == IGNORE).all()
        assert (labels != PAD).all()
        outside = np.flatnonzero(documents == NO_DOCUMENT)
        shown = outside - 1 if name == "masked" else outside
        kept = (shown >= 0) & (shown < len(inputs))
        assert np.array_equal(inputs[shown[kept]], tokens[outside[kept]])


@pytest.mark.parametrize("name", ALL)
@given(sample=st.integers(0, 10**6), length=st.integers(2, 120), documents=st.integers(1, 6))
def test_no_label_and_no_input_comes_from_another_document(name: str, sample: int, length: int, documents: int) -> None:
    _, numbers = window(length, sample, documents)
    tokens = SPECIAL_TOKENS + 4 * numbers + np.random.default_rng(sample).integers(0, 4, length)
    tokens[np.append(np.diff(numbers) != 0, False)] = 0
    settings = {"rate": 0.9} if name == "fim" else {}
    inputs, labels, own = objective(name, **settings)(tokens, numbers, 0, sample)
    assert np.array_equal(own, numbers[1:])
    ordinary = labels >= SPECIAL_TOKENS
    assert ((labels[ordinary] - SPECIAL_TOKENS) // 4 == own[ordinary]).all()
    if name != "masked":  # there, tokens at random are shown too
        inside = (inputs >= SPECIAL_TOKENS) & (numbers[:-1] != NO_DOCUMENT)
        assert ((inputs[inside] - SPECIAL_TOKENS) // 4 == numbers[:-1][inside]).all()


@given(seed=st.integers(0, 2**32))
def test_causal_labels_are_the_next_tokens_and_an_input_belongs_to_its_labels_document(seed: int) -> None:
    tokens, documents = window(60, seed)
    inputs, labels, numbers = build("causal")(tokens, documents, 0, 0)
    assert inputs.tolist() == tokens[:-1].tolist()
    assert labels.tolist() == tokens[1:].tolist()
    assert numbers.tolist() == documents[1:].tolist()
    ends = np.flatnonzero(np.diff(documents))
    assert all(inputs[t] == 0 and (t == 0 or numbers[t] != numbers[t - 1]) for t in ends)


@given(seed=st.integers(0, 2**32))
def test_a_prefix_is_shown_and_all_that_follows_it_is_learned(seed: int) -> None:
    tokens, documents = window(60, seed)
    inputs, labels, numbers = build("prefix")(tokens, documents, seed, 1)
    causal = build("causal")(tokens, documents, seed, 1)
    assert np.array_equal(inputs, causal[0])
    for number in np.unique(numbers):
        own, expected = labels[numbers == number], causal[1][numbers == number]
        shown = int((own == IGNORE).sum())
        assert shown < len(own)
        assert (own[:shown] == IGNORE).all()
        assert np.array_equal(own[shown:], expected[shown:])


def test_a_prefix_ends_anywhere_alike() -> None:
    rows, size = 20_000, 10
    tokens = np.tile(np.arange(100, 101 + size), (rows, 1))
    _, labels, _ = build("prefix").batch(tokens, np.zeros_like(tokens), 5, range(rows))
    counts = np.bincount((labels == IGNORE).sum(axis=1), minlength=size)
    assert len(counts) == size
    # Chi-squared with 9 degrees of freedom passes 33.7 once in 10,000 times.
    assert ((counts - rows / size) ** 2 / (rows / size)).sum() < 33.7


@pytest.mark.parametrize("name", HIDING)
@given(sample=st.integers(0, 10**6), draw=st.randoms(use_true_random=False))
def test_a_tokenizer_with_special_tokens_elsewhere_gives_the_same_samples(name: str, sample: int, draw: Any) -> None:
    special = tuple(draw.sample(range(VOCABULARY), SPECIAL_TOKENS))
    spelled = np.concatenate([special, np.setdiff1d(np.arange(VOCABULARY), special)])
    tokens, documents = window(60, sample)
    expected = objective(name)(tokens, documents, 3, sample)
    inputs, labels, _ = objective(name, special=special)(spelled[tokens], documents, 3, sample)
    assert np.array_equal(inputs, spelled[expected[0]])
    assert np.array_equal(labels, np.where(expected[1] == IGNORE, IGNORE, spelled[expected[1]]))


def test_an_unknown_objective_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'casual' is not known; there are causal, masked, fim, prefix, span"):
        build("casual")


@pytest.mark.parametrize("name", ["masked", "fim", "span"])
@pytest.mark.parametrize("special", [(1, 2, 3), (0,) * SPECIAL_TOKENS])
def test_special_tokens_that_are_no_set_of_sixteen_are_refused(name: str, special: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="special: expected 16 different ids"):
        objective(name, special=special)
