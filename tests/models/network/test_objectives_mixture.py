"""Mixtures of objectives: each sample is one objective's own, and every run of samples has its shares."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network import Mixture, build
from pipelines.tokens.schedule import Schedule, StageShares
from tests.models.network.windows import window

PARTS = tuple(build(name) for name in ("causal", "fim", "span", "prefix"))


def mixture(*weights: float) -> Mixture:
    return Mixture(PARTS[: len(weights)], weights)


@given(seed=st.integers(0, 2**32), first=st.integers(0, 2**40))
def test_a_sample_is_that_of_the_objective_it_is_for(seed: int, first: int) -> None:
    mixed, ids = mixture(1, 2, 3, 4), np.arange(first, first + 12)
    chosen = mixed.choose(seed, ids)
    assert np.array_equal(chosen[3:5], mixed.choose(seed, ids[3:5]))
    for k, number in zip(ids.tolist(), chosen, strict=True):
        tokens, documents = window(60, k)
        expected = PARTS[number](tokens, documents, seed, k)
        assert all(np.array_equal(*pair) for pair in zip(mixed(tokens, documents, seed, k), expected, strict=True))


@settings(max_examples=20)
@given(
    weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    first=st.integers(0, 2**40),
)
def test_any_run_of_samples_has_the_shares(weights: list[float], seed: int, first: int) -> None:
    chosen = mixture(*weights).choose(seed, np.arange(first, first + 100_000))
    for number, weight in enumerate(weights):
        surplus = np.cumsum((chosen == number) - weight / sum(weights))
        # Between any two samples, not from the first alone.
        assert max(surplus.max(), 0) - min(surplus.min(), 0) < 8


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.618, 0.382), (0.05, 0.95)])
def test_what_a_sample_is_made_of_does_not_decide_how_it_is_learned(shares: tuple[float, ...]) -> None:
    k, weights = np.arange(50_000), (0.618, 0.282, 0.1)
    source, _ = Schedule(np.full(len(shares), 1000), [StageShares(0, np.array(shares))])(k)
    chosen = mixture(*weights).choose(0, k)
    both = np.zeros((len(shares), len(weights)))
    np.add.at(both, (source, chosen), 1)
    assert np.abs(both - np.outer(shares, weights) * len(k)).max() < 60


@pytest.mark.parametrize("weights", [(), (1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, float("nan")), (1.0, float("inf"))])
def test_weights_that_are_none_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected a positive number for each objective"):
        Mixture(PARTS[:2], weights)
