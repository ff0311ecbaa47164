"""Objectives: pure functions of (seed, sample id), labels aligned with the logits, chance as stated."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.network import OBJECTIVES, build
from models.network.objectives import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, MASK

VOCABULARY = 512


def window(length: int = 257, seed: int = 0, documents: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    tokens = draw.integers(16, VOCABULARY, length)
    numbers = np.sort(draw.integers(0, documents, length))
    tokens[np.flatnonzero(np.diff(numbers))] = 0
    return tokens, numbers


def objective(name: str):
    return build(name, **({"vocabulary_size": VOCABULARY} if name == "masked" else {}))


@pytest.mark.parametrize("name", OBJECTIVES)
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


@pytest.mark.parametrize("name", ["masked", "fim"])
def test_samples_and_seeds_differ(name: str) -> None:
    tokens, documents = window()
    seen = {objective(name)(tokens, documents, seed, k)[0].tobytes() for seed in (1, 2) for k in (1, 2)}
    assert len(seen) == 4


@given(seed=st.integers(0, 2**32))
def test_causal_labels_are_the_next_tokens_and_an_input_belongs_to_its_labels_document(seed: int) -> None:
    tokens, documents = window(60, seed)
    inputs, labels, numbers = build("causal")(tokens, documents, 0, 0)
    assert inputs.tolist() == tokens[:-1].tolist()
    assert labels.tolist() == tokens[1:].tolist()
    assert numbers.tolist() == documents[1:].tolist()
    ends = np.flatnonzero(np.diff(documents))
    assert all(inputs[t] == 0 and (t == 0 or numbers[t] != numbers[t - 1]) for t in ends)


@pytest.mark.parametrize("name", OBJECTIVES)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 5))
def test_a_batch_is_its_samples(name: str, seed: int, rows: int) -> None:
    windows = [window(50, seed + row) for row in range(rows)]
    documents = np.stack([numbers for _, numbers in windows])
    documents[0, 30:] = -1
    tokens, ids = np.stack([tokens for tokens, _ in windows]), [seed + 3 * row for row in range(rows)]
    together = objective(name).batch(tokens, documents, seed, ids)
    for row in range(rows):
        alone = objective(name)(tokens[row], documents[row], seed, ids[row])
        assert all(np.array_equal(part[row], one) for part, one in zip(together, alone, strict=True))
    assert all(part.dtype == np.int64 and part.flags.c_contiguous for part in together)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_belongs_to_no_document_is_no_target_and_is_left_alone(name: str) -> None:
    for sample in range(40):
        tokens, documents = window(60, sample)
        documents[0], documents[25], documents[40:] = -1, -1, -1
        inputs, labels, numbers = objective(name)(tokens, documents, 1, sample)
        assert np.array_equal(numbers, documents[1:])
        assert (labels[numbers == -1] == -100).all()
        outside = np.flatnonzero(documents == -1)
        shown = outside - 1 if name == "masked" else outside
        kept = (shown >= 0) & (shown < len(inputs))
        assert np.array_equal(inputs[shown[kept]], tokens[outside[kept]])


def test_masking_rates_are_within_their_binomial_intervals() -> None:
    counts = np.zeros(4)
    draws = 0
    for sample in range(200):
        tokens, documents = window(seed=sample)
        inputs, labels, _ = objective("masked")(tokens, documents, 7, sample)
        ordinary, target, shown = tokens[1:] >= 16, labels != -100, tokens[1:]
        assert np.array_equal(labels[target], shown[target])
        assert np.array_equal(inputs[~target], shown[~target])
        draws += ordinary.sum()
        hidden, same = inputs == MASK, inputs == shown
        counts += [target.sum(), (target & hidden).sum(), (target & ~hidden & ~same).sum(), (target & same).sum()]
    targets = counts[0]
    # A random replacement is the token itself once in 496 draws.
    for hits, trials, share in zip(counts, [draws, targets, targets, targets], [0.3, 0.8, 0.1, 0.1], strict=True):
        assert abs(hits / trials - share) < 4 * math.sqrt(share * (1 - share) / trials) + 0.001


def test_special_tokens_are_never_targets_and_never_drawn() -> None:
    tokens = np.random.default_rng(0).integers(0, 24, 5000)
    inputs, labels, _ = build("masked", vocabulary_size=24)(tokens, np.zeros(5000, int), 0, 0)
    assert (labels[tokens[1:] < 16] == -100).all()
    changed = inputs != tokens[1:]
    assert set(inputs[changed]) <= {MASK, *range(16, 24)}


@given(sample=st.integers(0, 10**6), length=st.integers(2, 80))
def test_filling_in_keeps_documents_apart_and_loses_three_tokens_at_most(sample: int, length: int) -> None:
    tokens, documents = window(length, seed=sample)
    inputs, _, numbers = build("fim", rate=1.0)(tokens, documents, 0, sample)
    assert np.array_equal(numbers, documents[1:])
    whole = np.append(inputs, -1)
    for number in np.unique(documents):
        before, after = tokens[documents == number], whole[documents == number]
        after = after[after != -1]
        marks = np.isin(after, (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)).sum()
        assert marks in ({0} if len(before) <= 6 else {0, 2, 3} if len(before) == 7 else {2, 3})
        rest = after[~np.isin(after, (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE))]
        assert not set(rest) - set(before)


def test_filling_in_gives_the_document_back_when_its_parts_are_put_in_order() -> None:
    tokens = np.append(np.arange(100, 160), 0)
    for sample in range(50):
        inputs, labels, _ = build("fim", rate=1.0)(tokens, np.zeros(61, int), 3, sample)
        assert labels[-1] == 0
        moved = inputs.tolist()
        prefix, suffix, middle = (moved.index(mark) for mark in (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE))
        first, second, third = moved[prefix + 1 : suffix], moved[suffix + 1 : middle], moved[middle + 1 :]
        if suffix == prefix + 1:  # suffix first, or an empty prefix
            assert third + second == list(range(100, 157))
        else:
            assert first + third + second == list(range(100, 157))


def test_an_unknown_objective_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'casual' is not known; there are causal, masked, fim"):
        build("casual")


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.0}, {"rate": 1.0}, {"masked": 0.9, "replaced": 0.2}, {"vocabulary_size": 16}]
)
def test_impossible_masking_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"out of range|no ordinary token"):
        build("masked", **{"vocabulary_size": 100} | wrong)
