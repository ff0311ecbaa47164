"""Samples: pure in k, every window once a pass, shares as asked, documents numbered right."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tokens import MixtureSettings, Samples, TokenStore
from pipelines.tokens.mixture import PERIOD, Schedule, largest_remainder
from pipelines.tokens.permutation import Permutation

T = 32


@given(size=st.integers(1, 400), seed=st.integers(0, 2**64))
def test_a_permutation_is_a_bijection(size: int, seed: int) -> None:
    permutation = Permutation(size, seed)
    assert sorted(permutation[i] for i in range(size)) == list(range(size))


def test_permutations_of_epochs_differ_and_leave_no_order_behind() -> None:
    first, second = ([Permutation(5000, 1, "web", epoch)[i] for i in range(5000)] for epoch in (0, 1))
    assert first != second
    # Of uniformly random permutations, neighbours correlate with sigma 1/sqrt(5000) = 0.014.
    for order in (first, second):
        assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.07
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.07


def test_a_permutation_does_not_depend_on_the_process() -> None:
    assert [Permutation(1000, "windows", 7, "web", 0)[i] for i in range(5)] == [630, 118, 947, 564, 247]


@given(weights=st.lists(st.floats(0.001, 1e6), min_size=1, max_size=8), total=st.integers(0, 10_000))
def test_largest_remainder_sums_and_stays_within_one(weights: list[float], total: int) -> None:
    shares = largest_remainder(np.array(weights), total)
    exact = np.array(weights) / sum(weights) * total
    assert shares.sum() == total
    assert (np.abs(shares - exact) < 1 + 1e-6).all()


@given(weights=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6))
def test_shares_hold_at_every_prefix(weights: list[float]) -> None:
    names = [f"s{i}" for i in range(len(weights))]
    schedule = Schedule(dict.fromkeys(names, 1000), MixtureSettings(weights=dict(zip(names, weights, strict=True))))
    drawn = np.array([schedule(k)[0] for k in range(1500)])
    target = np.array(weights) / sum(weights)
    for source in range(len(names)):
        realised = np.cumsum(drawn == source)
        drift = np.abs(realised - np.arange(1, len(drawn) + 1) * target[source])
        assert drift.max() <= len(names)
    far = 3 * PERIOD + 12_345
    counts = schedule.counts(far)
    assert sum(counts.values()) == far
    for name, share in zip(names, target, strict=True):
        assert abs(counts[name] / far - share) < 0.001


@given(k=st.integers(0, 10**12))
def test_the_rank_of_a_sample_counts_those_before_it(k: int) -> None:
    schedule = Schedule({"a": 10, "b": 99, "c": 3}, MixtureSettings(weights={"a": 0.2, "b": 0.7, "c": 0.1}))
    source, before = schedule(k)
    assert schedule.counts(k)[schedule.sources[source]] == before


def test_one_pass_reads_every_token_once_as_a_target(store: TokenStore) -> None:
    samples = Samples(store, "train", T, seed=5)
    drawn: dict[str, list[bytes]] = {}
    for k in range(len(samples)):
        tokens, _ = samples.sample(k)
        assert tokens.dtype == np.int64
        assert len(tokens) == T + 1
        drawn.setdefault(samples.source(k), []).append(tokens.tobytes())
    for source in store.split("train"):
        stream = np.concatenate([tokens for _, _, tokens in store.documents("train", source)]).astype(np.int64)
        windows = [stream[i * T : i * T + T + 1].tobytes() for i in range((len(stream) - 1) // T)]
        assert sorted(drawn[source]) == sorted(windows)


def test_documents_number_the_window_by_its_end_tokens(store: TokenStore) -> None:
    samples = Samples(store, "train", T, seed=5)
    for k in range(0, len(samples), 7):
        tokens, documents = samples.sample(k)
        ends_before = np.cumsum(tokens == 0) - (tokens == 0)
        assert documents.dtype == np.int32
        assert documents.tolist() == ends_before.tolist()


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_every_world_size_sees_the_same_global_batches(store: TokenStore, world: int) -> None:
    batch, steps = 24, 4
    expected = Samples(store, "train", T, seed=9)
    ranks = [pickle.loads(pickle.dumps(expected)) for _ in range(world)]
    for step in range(steps):
        got: list[bytes] = [b""] * batch
        for rank, samples in enumerate(ranks):
            for place in range(rank, batch, world):
                got[place] = samples.sample(step * batch + place)[0].tobytes()
        assert got == [expected.sample(step * batch + place)[0].tobytes() for place in range(batch)]


def test_a_pickled_copy_is_small_and_the_order_needs_no_history(store: TokenStore) -> None:
    samples = Samples(store, "train", T, MixtureSettings(weights={"web": 3, "wiki": 1}), seed=2)
    late = samples.sample(100_003)[0].tolist()
    data = pickle.dumps(samples)
    assert len(data) < 2000
    assert pickle.loads(data).sample(100_003)[0].tolist() == late
    assert Samples(store, "train", T, samples.mixture, seed=3).sample(100_003)[0].tolist() != late


def test_the_next_epoch_has_the_same_windows_in_another_order(store: TokenStore) -> None:
    samples = Samples(store, "train", T, seed=1)
    size = len(samples)
    first, second = ([samples.sample(k)[0].tobytes() for k in range(e * size, (e + 1) * size)] for e in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


def test_the_plan_adds_up_and_the_cap_explains_itself(store: TokenStore) -> None:
    samples = Samples(store, "train", T, MixtureSettings(weights={"web": 1, "wiki": 3}, max_epochs=2), seed=1)
    plan = samples.plan(4000)
    assert sum(source["tokens"] for source in plan["sources"].values()) == plan["tokens"] == 4000 * T
    assert plan["left_out"] == ["code"]
    allowed = samples.schedule.samples_within(2)
    samples.check(allowed)
    assert max(source["epochs"] for source in samples.plan(allowed)["sources"].values()) <= 2
    assert max(source["epochs"] for source in samples.plan(allowed + 1)["sources"].values()) > 2
    with pytest.raises(ValueError, match=r"read 'wiki' .* times, max_epochs is 2.*At most"):
        samples.check(allowed + 1)


def test_wrong_mixtures_are_named(store: TokenStore) -> None:
    with pytest.raises(ValueError, match="no source 'wikki'; there are code, web, wiki"):
        Samples(store, "train", T, MixtureSettings(weights={"wikki": 1}))
    with pytest.raises(ValueError, match="no source is as long as one sample"):
        Samples(store, "validation", 10**7)
    with pytest.raises(ValueError, match="'web' is shorter than one sample"):
        Samples(store, "validation", 10**7, MixtureSettings(weights={"web": 1}))
    with pytest.raises(ValueError, match="no split 'test'"):
        Samples(store, "test", T)
    with pytest.raises(ValueError, match="expected a positive number"):
        MixtureSettings(weights={"web": 0})
