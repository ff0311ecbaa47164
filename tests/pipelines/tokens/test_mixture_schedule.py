"""The schedule: shares right at every prefix and across stages, counts that are counts, whole passes exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.tokens.schedule import MODULUS, Schedule, StageShares, golden_step, largest_remainder

WEIGHTS = st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=40)


def schedule(*stages: tuple[int, list[float]], windows: int = 1000) -> Schedule:
    shares = [StageShares(first, np.array(weights) / sum(weights)) for first, weights in stages]
    return Schedule(np.full(len(stages[0][1]), windows) + np.arange(len(stages[0][1])), shares)


def off(found: Schedule, first: int, last: int, shares: list[float]) -> np.ndarray:
    """[n]: the most that any group's count in samples first … first + n is off its share."""
    group, _ = found(np.arange(first, last))
    n = np.arange(1, last - first + 1)
    worst = np.zeros(len(n))
    for each, share in enumerate(np.array(shares) / sum(shares)):
        worst = np.maximum(worst, np.abs(np.cumsum(group == each) - n * share))
    return worst


def most_off(modulus: int, samples: int) -> float:
    """The most that any interval's count in the first points can be off its width, over all intervals."""
    points = np.sort(np.arange(samples) % modulus * golden_step(modulus) % modulus) * (samples / modulus)
    rank = np.arange(samples)
    return float(max(0.0, (rank + 1 - points).max()) - min(0.0, (rank - points).min()))


@settings(max_examples=20)
@given(weights=WEIGHTS)
def test_no_prefix_is_six_samples_off(weights: list[float]) -> None:
    assert off(schedule((0, weights)), 0, 8000, weights).max() < 6


@settings(max_examples=40)
@given(samples=st.integers(5000, 100_000), modulus=st.sampled_from([MODULUS, 10**6 + 3, 2**20, 720_720, 10**9]))
def test_no_shares_whatever_are_a_thousandth_off_after_five_thousand_samples(samples: int, modulus: int) -> None:
    assert most_off(modulus, samples) < min(8, 0.001 * samples)


@pytest.mark.parametrize("seed", [1, 2])
def test_realised_shares_are_within_a_thousandth_at_every_prefix_and_across_borders(seed: int) -> None:
    draw = np.random.default_rng(seed)
    borders = [0, 31_337, 70_001, 110_000]
    weights = [draw.dirichlet(np.full(12, 0.5)).tolist() for _ in borders[1:]]
    weights[1][3] = 0.0
    found = schedule(*zip(borders[:-1], weights, strict=True))
    planned = np.zeros((borders[-1], 12))
    for first, last, shares in zip(borders[:-1], borders[1:], weights, strict=True):
        n = np.arange(1, last - first + 1)
        assert (off(found, first, last, shares) / n)[5000:].max() < 0.001
        planned[first:last] = np.array(shares) / sum(shares)
    group, _ = found(np.arange(borders[-1]))
    drawn = np.cumsum(group[:, None] == np.arange(12), axis=0) - np.cumsum(planned, axis=0)
    assert (np.abs(drawn).max(axis=1) / np.arange(1, borders[-1] + 1))[5000:].max() < 0.001
    assert not (group[borders[1] : borders[2]] == 3).any()


@given(k=st.integers(0, 10**15), first=st.integers(1, 10**6))
def test_the_rank_of_a_sample_counts_those_before_it(k: int, first: int) -> None:
    found = schedule((0, [0.2, 0.7, 0.1]), (first, [0.0, 1.0, 2.0]))
    (group,), (before,) = found(np.array([k]))
    assert found.counts(k)[group] == before
    assert found.counts(k).sum() == k
    assert found.counts(k + 1)[group] == before + 1
    assert (found.by_stage(k).sum(axis=0) == found.counts(k)).all()
    assert found.by_stage(k).sum(axis=1).tolist() == [min(k, first), max(0, k - first)]


def test_ranks_are_all_different_over_a_border() -> None:
    found = schedule((0, [0.2, 0.7, 0.1]), (777, [0.5, 0.1, 0.4]))
    group, drawn = found(np.arange(5000))
    for each in range(3):
        assert drawn[group == each].tolist() == list(range((group == each).sum()))


@given(windows=st.lists(st.integers(0, 300), min_size=1, max_size=12).filter(any))
def test_by_what_there_is_a_pass_reads_every_window_once(windows: list[int]) -> None:
    found = Schedule(np.array(windows), [StageShares(0, np.array(windows) / sum(windows))])
    group, drawn = found(np.arange(3 * sum(windows)))
    epoch, window = np.divmod(drawn, np.array(windows)[group])
    for each in range(3):
        seen = sorted(zip(group[epoch == each].tolist(), window[epoch == each].tolist(), strict=True))
        assert seen == [(g, w) for g, count in enumerate(windows) for w in range(count)]
    assert found.samples_within(np.array(windows)) == sum(windows)


@given(weights=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5), epochs=st.integers(0, 6))
def test_what_fits_fits_and_one_more_does_not(weights: list[float], epochs: int) -> None:
    found = schedule((0, weights), (500, weights[::-1]), windows=90)
    fits = found.samples_within(found.windows * epochs)
    assert (found.counts(fits) <= found.windows * epochs).all()
    assert (found.counts(fits + 1) > found.windows * epochs).any()


def test_a_group_as_rare_as_one_in_a_million_million_is_not_forgotten() -> None:
    found = schedule((0, [1.0, 1e-12]))
    assert found.counts(MODULUS).tolist() == [MODULUS - 1, 1]


@given(modulus=st.integers(1, MODULUS))
def test_a_step_meets_every_point(modulus: int) -> None:
    assert math.gcd(golden_step(modulus), modulus) == 1


@given(weights=st.lists(st.floats(0.001, 1e6), min_size=1, max_size=8), total=st.integers(0, 10_000))
def test_largest_remainder_sums_and_stays_within_one(weights: list[float], total: int) -> None:
    shares = largest_remainder(np.array(weights), total)
    exact = np.array(weights) / sum(weights) * total
    assert shares.sum() == total
    assert (np.abs(shares - exact) < 1 + 1e-6).all()


def test_negative_samples_are_refused() -> None:
    with pytest.raises(IndexError, match="sample -3"):
        schedule((0, [1.0]))(np.array([4, -3]))
