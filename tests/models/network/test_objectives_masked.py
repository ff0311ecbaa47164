"""Masking: every ordinary token is as likely a target, spans are geometric, special tokens are let be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.network import build
from models.network.objectives import IGNORE, MASK
from tests.models.network.windows import VOCABULARY, window


def test_masking_rates_are_within_their_binomial_intervals() -> None:
    counts = np.zeros(4)
    draws = 0
    for sample in range(200):
        tokens, documents = window(seed=sample)
        inputs, labels, _ = build("masked", vocabulary_size=VOCABULARY)(tokens, documents, 7, sample)
        ordinary, target, shown = tokens[1:] >= 16, labels != IGNORE, tokens[1:]
        assert np.array_equal(labels[target], shown[target])
        assert np.array_equal(inputs[~target], shown[~target])
        draws += ordinary.sum()
        hidden, same = inputs == MASK, inputs == shown
        counts += [target.sum(), (target & hidden).sum(), (target & ~hidden & ~same).sum(), (target & same).sum()]
    targets = counts[0]
    # A random replacement is the token itself once in 496 draws.
    for hits, trials, share in zip(counts, [draws, targets, targets, targets], [0.3, 0.8, 0.1, 0.1], strict=True):
        assert abs(hits / trials - share) < 4 * math.sqrt(share * (1 - share) / trials) + 0.001


@pytest.mark.parametrize(("rate", "mean_span"), [(0.3, 1.0), (0.15, 3.8), (0.5, 2.0), (0.05, 20.0)])
def test_spans_keep_the_rate_at_each_place_and_have_geometric_lengths(rate: float, mean_span: float) -> None:
    rows, size = 20_000, 12
    tokens = np.full((rows, size + 1), 100)
    objective = build("masked", vocabulary_size=VOCABULARY, rate=rate, mean_span=mean_span)
    target = objective.batch(tokens, np.zeros_like(tokens), 1, range(rows))[1] != IGNORE
    # Stationary from the document's first token on, so each place is hidden in `rate` of the rows.
    assert (np.abs(target.mean(axis=0) - rate) < 4.5 * math.sqrt(rate * (1 - rate) / rows)).all()
    begins = rate / (rate + mean_span * (1 - rate))
    goes_on = 1 - (1 - begins) / mean_span  # by the span itself, or by one that touches it
    before, after = target[:, :-1], target[:, 1:]
    for here, share in ((before, goes_on), (~before, begins)):
        found, trials = after[here].mean(), here.sum()
        assert abs(found - share) < 4.5 * math.sqrt(share * (1 - share) / trials) + 1e-9


@pytest.mark.parametrize("between", ["border", "special token"])
def test_a_span_does_not_reach_across_a(between: str) -> None:
    rows, rate = 20_000, 0.2
    tokens = np.full((rows, 22), 100)
    documents = np.zeros_like(tokens)
    if between == "border":
        documents[:, 11:] = 1
        left, right = 9, 10
    else:
        tokens[:, 11] = 8
        left, right = 9, 11
    objective = build("masked", vocabulary_size=VOCABULARY, rate=rate, mean_span=100.0)
    target = objective.batch(tokens, documents, 1, range(rows))[1] != IGNORE
    both = rate**2
    assert abs((target[:, left] & target[:, right]).mean() - both) < 4.5 * math.sqrt(both * (1 - both) / rows)


def test_without_spans_tokens_are_hidden_independently() -> None:
    tokens = np.full((20_000, 13), 100)
    target = build("masked", vocabulary_size=VOCABULARY).batch(tokens, np.zeros_like(tokens), 1, range(20_000))[1] >= 0
    correlation = np.corrcoef(target.T) - np.eye(12)
    assert np.abs(correlation).max() < 4.5 / math.sqrt(20_000)


def test_a_span_is_shown_in_one_way() -> None:
    objective = build("masked", vocabulary_size=VOCABULARY, rate=0.05, mean_span=50.0, masked=0.5, replaced=0.0)
    tokens = np.full((2000, 101), 100)
    inputs, labels, _ = objective.batch(tokens, np.zeros_like(tokens), 1, range(2000))
    both = (labels[:, 1:] != IGNORE) & (labels[:, :-1] != IGNORE)
    differ = (inputs[:, 1:] == MASK) != (inputs[:, :-1] == MASK)
    # Only where another span follows at once, which is 1 place in 50 x 951, and then half of the time.
    assert (differ & both).sum() < 10
    assert both.sum() > 5000


@given(seed=st.integers(0, 2**32), mean_span=st.floats(1, 50))
def test_special_tokens_are_never_targets_and_never_drawn(seed: int, mean_span: float) -> None:
    tokens = np.random.default_rng(seed).integers(0, 24, 500)
    objective = build("masked", vocabulary_size=24, rate=0.8, mean_span=mean_span)
    inputs, labels, _ = objective(tokens, np.zeros(500, int), seed, 0)
    special = tokens[1:] < 16
    assert (labels[special] == IGNORE).all()
    assert np.array_equal(inputs[special], tokens[1:][special])
    changed = inputs != tokens[1:]
    assert set(inputs[changed]) <= {MASK, *range(16, 24)}


def test_replacements_are_any_ordinary_token_alike() -> None:
    special = (3, 11, *range(30, 44))
    objective = build("masked", vocabulary_size=50, rate=0.9, masked=0.0, replaced=1.0, special=special)
    tokens = np.full((400, 101), 5)
    inputs, labels, _ = objective.batch(tokens, np.zeros_like(tokens), 1, range(400))
    counts = np.bincount(inputs[labels != IGNORE], minlength=50)
    assert counts[list(special)].sum() == 0
    ordinary = np.delete(counts, special)
    expected = ordinary.sum() / 34
    # Chi-squared with 33 degrees of freedom passes 70 once in 5,000 times.
    assert ((ordinary - expected) ** 2 / expected).sum() < 70


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0.0},
        {"rate": 1.0},
        {"masked": 0.9, "replaced": 0.2},
        {"mean_span": 0.5},
        {"mean_span": math.inf},
        {"vocabulary_size": 16},
        {"special": tuple(range(90, 106))},
    ],
)
def test_impossible_masking_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"out of range|no ordinary token"):
        build("masked", **{"vocabulary_size": 100} | wrong)
