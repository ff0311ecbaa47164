"""Intervals are those of the papers that they name, and say nothing where there is nothing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.safety.statistics import (
    Estimate,
    Sums,
    bootstrap_mean,
    difference,
    log_odds_ratio,
    stratified_difference,
    wilson,
)

counts = st.integers(1, 200).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


def sums(hits: list[float], of: list[float]) -> Sums:
    a, n = np.array(hits), np.array(of)
    return Sums(*(float(each.sum()) for each in (a, n, a * a, a * n, n * n)))


def test_newcombes_own_examples() -> None:
    # Newcombe 1998, table II, method 10: 56/70 - 48/80 and 0/10 - 0/10.
    assert difference(56, 70, 48, 80) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert difference(0, 10, 0, 10) == pytest.approx((0.0, -0.2775, 0.2775), abs=1e-4)


@given(counts, counts)
def test_a_difference_is_within_its_interval_and_turns_with_its_sides(one: tuple, two: tuple) -> None:
    found, turned = difference(*one, *two), difference(*two, *one)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_wilson_of_nothing_is_anything() -> None:
    assert math.isnan(wilson(0, 0).value)
    assert wilson(0, 0)[1:] == (0.0, 1.0)


def test_strata_undo_a_source_that_keeps_little() -> None:
    # The group stays exactly as often as others in each source, but most of its documents are where little stays.
    strata = [(10, 100, 1, 10), (9, 10, 90, 100)]
    found = stratified_difference(strata)
    assert found is not None
    assert found.value == pytest.approx(0)
    assert not found.excludes_zero
    assert difference(19, 110, 91, 110).excludes_zero
    assert stratified_difference([(1, 1, 0, 0)]) is None


def test_log_odds_agree_with_counting_and_shrink_what_is_rare() -> None:
    even = sums([1] * 100, [10] * 100)
    less = sums([1] * 50 + [0] * 50, [10] * 100)
    found = log_odds_ratio(even, less, 1e-9)
    assert found is not None
    assert found.value == pytest.approx(math.log((100 / 900) / (50 / 950)), abs=1e-6)
    nothing = log_odds_ratio(sums([0], [20]), sums([30] * 10, [10_000] * 10), 1.0)
    assert nothing is not None
    assert abs(nothing.value) < 0.1
    assert log_odds_ratio(sums([0], [0]), even, 1.0) is None
    assert log_odds_ratio(sums([0], [9]), sums([0], [9]), 1.0) is None


def test_hits_in_one_document_are_less_certain_than_in_many() -> None:
    other = sums([1] * 100, [100] * 100)
    spread, bursty = sums([1] * 50, [100] * 50), sums([50] + [0] * 49, [100] * 50)
    one, two = log_odds_ratio(spread, other, 1.0), log_odds_ratio(bursty, other, 1.0)
    assert one is not None
    assert two is not None
    assert one.value == two.value
    assert two.high - two.low > 2 * (one.high - one.low)


def test_the_bootstrap_is_seeded_and_covers_the_mean() -> None:
    values = [0.1, 0.2, 0.3, 0.6]
    assert bootstrap_mean(values, 1) == bootstrap_mean(values, 1)
    assert bootstrap_mean(values, 1).low <= 0.3 <= bootstrap_mean(values, 1).high
    assert bootstrap_mean([0.2] * 5, 1) == Estimate(*[pytest.approx(0.2)] * 3)
