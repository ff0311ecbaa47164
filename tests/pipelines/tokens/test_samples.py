"""Samples: pure in k, every window once a pass, shares as asked, documents and positions numbered right."""

from __future__ import annotations

import pickle
import tempfile
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.tokens import MixtureSettings, Samples, TokenStore
from pipelines.tokens.packing import PACKINGS
from tests.pipelines.tokens.handmade import FIRST, HandmadeStore

T = 32
END, PAD = 0, 1


@pytest.fixture(autouse=True, scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Packing plans are kept below the machine's temporary directory."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = before


@pytest.fixture(scope="module", params=["int32", "uint16"])
def handmade(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HandmadeStore:
    """Three groups of several shards; one shard is a single end token, one document spans several windows."""
    draw = np.random.default_rng(1)
    lengths = {
        "web/en": [draw.integers(1, 60, size).tolist() for size in (30, 1, 50)],
        "web/fr": [[1], draw.integers(1, 8, 40).tolist(), [32, 33, 64]],
        "wiki/en": [[5, 301, 7, 31, 40], draw.integers(20, 90, 9).tolist()],
    }
    return HandmadeStore(str(tmp_path_factory.mktemp("handmade")), lengths, request.param)


def flat(store: HandmadeStore, name: str) -> list[int]:
    return [token for document in store.texts[name] for token in document]


def test_concatenated_windows_are_the_stream_cut_every_t_tokens(handmade: HandmadeStore) -> None:
    samples = Samples(handmade, "train", T, seed=5)
    drawn: dict[str, list[list[int]]] = {}
    tokens, _, _ = samples.batch(range(len(samples)))
    for k, row in enumerate(tokens.tolist()):
        drawn.setdefault(str(samples.group(k)), []).append(row)
    for name in handmade.texts:
        stream = flat(handmade, name)
        windows = [stream[i * T : i * T + T + 1] for i in range((len(stream) - 1) // T)]
        assert sorted(drawn[name]) == sorted(windows)


@pytest.mark.parametrize("packing", ["best_fit", "one_document"])
def test_a_pass_over_packed_windows_has_every_token_once_as_a_target(handmade: HandmadeStore, packing: Any) -> None:
    samples = Samples(handmade, "train", T, seed=5, packing=packing)
    tokens, documents, _ = samples.batch(range(len(samples)))
    targets = Counter(tokens[:, 1:][documents[:, 1:] >= 0].tolist())
    assert targets == Counter(token for name in handmade.texts for token in flat(handmade, name))
    assert (documents[:, 0] == -1).all()
    if packing == "one_document":
        assert documents.max() == 0


@pytest.mark.parametrize("packing", PACKINGS)
def test_documents_and_positions_restart_where_documents_do(handmade: HandmadeStore, packing: Any) -> None:
    samples = Samples(handmade, "train", T, seed=5, packing=packing)
    tokens, documents, positions = samples.batch(range(len(samples)))
    assert (tokens.dtype, documents.dtype, positions.dtype) == (np.int64, np.int32, np.int32)
    starts = {document[0] for texts in handmade.texts.values() for document in texts if document[0] != END}
    for row, numbers, places in zip(tokens.tolist(), documents.tolist(), positions.tolist(), strict=True):
        inside = [number for number in numbers if number >= 0]
        assert list(dict.fromkeys(inside)) == list(range(max(inside) + 1))
        for at in range(T + 1):
            new = at == 0 or numbers[at] != numbers[at - 1]
            assert places[at] == (0 if new else places[at - 1] + 1)
            if numbers[at] < 0:
                continue
            if not new:
                # The numbers of a document rise; only its end is a 0.
                assert row[at] in (END, row[at - 1] + 1)
                assert row[at - 1] != END
            elif at:
                # What comes before a document is an end, before the rest of one its last token.
                assert row[at - 1] == (END if row[at] in starts or row[at] == END else row[at] - 1) or (
                    row[at] == END and row[at - 1] >= FIRST
                )


def test_padding_is_pad_and_only_at_the_end(handmade: HandmadeStore) -> None:
    samples = Samples(handmade, "train", T, seed=5, packing="best_fit")
    tokens, documents, positions = samples.batch(range(len(samples)))
    for row, numbers, places in zip(tokens.tolist(), documents.tolist(), positions.tolist(), strict=True):
        used = T + 1 - row.count(PAD)
        assert PAD not in row[:used]
        assert numbers[used:] == [-1] * (T + 1 - used)
        assert places[used:] == list(range(T + 1 - used))
    packed = samples.packed()
    assert packed["padding"] == pytest.approx((documents[:, 1:] < 0).sum() / (len(samples) * T), abs=0.02)
    assert packed["cut"] == sum(len(d) > T for texts in handmade.texts.values() for d in texts)


def test_concatenation_says_how_many_documents_it_cuts(handmade: HandmadeStore) -> None:
    cut = 0
    for texts in handmade.texts.values():
        at = 0
        for document in texts:
            cut += len({(token - 1) // T for token in range(max(1, at), at + len(document))}) > 1
            at += len(document)
    documents = sum(len(texts) for texts in handmade.texts.values())
    assert Samples(handmade, "train", T).packed() == {
        "documents": documents,
        "cut": cut,
        "windows": len(Samples(handmade, "train", T)),
        "padding": 0,
    }


@pytest.mark.parametrize("packing", PACKINGS)
@settings(max_examples=20)
@given(indices=st.lists(st.integers(0, 10**9), min_size=1, max_size=9), seed=st.integers(0, 2**40))
def test_a_batch_is_its_samples(handmade: HandmadeStore, packing: Any, indices: list[int], seed: int) -> None:
    samples = Samples(handmade, "train", T, seed=seed, packing=packing)
    for row, k in enumerate(indices):
        for together, alone in zip(samples.batch(indices), samples.sample(k), strict=True):
            assert together[row].tolist() == alone.tolist()


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_every_world_size_and_every_resume_sees_the_same_global_batches(
    handmade: HandmadeStore, world: int, packing: Any
) -> None:
    batch, steps, resumed = 24, 6, 3
    mixture = MixtureSettings.model_validate(
        {"curriculum": [{"until_tokens": 50 * T, "weights": {"web": 1}}, {"weights": {"wiki": 2, "web/fr": 1}}]}
    )
    expected = Samples(handmade, "train", T, mixture, 9, packing)
    whole = [part.tolist() for part in expected.batch(range(batch * steps))]
    ranks = [pickle.loads(pickle.dumps(expected)) for _ in range(world)]
    for step in range(resumed, steps):
        for rank, samples in enumerate(ranks):
            mine = range(step * batch + rank, (step + 1) * batch, world)
            for part, all_of_it in zip(samples.batch(mine), whole, strict=True):
                assert part.tolist() == [all_of_it[k] for k in mine]


@pytest.mark.parametrize("packing", PACKINGS)
def test_passes_are_counted_across_stages(handmade: HandmadeStore, packing: Any) -> None:
    stages = [{"until_tokens": 37 * T, "weights": {"web": 3, "wiki": 1}}, {"weights": {"web/en": 1, "wiki": 4}}]
    mixture = MixtureSettings.model_validate({"curriculum": stages})
    samples = Samples(handmade, "train", T, mixture, 1, packing)
    windows = dict(zip(map(str, samples.groups), samples.schedule.windows.tolist(), strict=True))
    seen: dict[str, list[bytes]] = {name: [] for name in windows}
    tokens, documents, _ = samples.batch(range(200))
    for k in range(200):
        seen[str(samples.group(k))].append(tokens[k].tobytes() + documents[k].tobytes())
    assert not any(str(samples.group(k)) == "web/fr" for k in range(37, 200))
    for name, drawn in seen.items():
        size = windows[name]
        for first in range(0, len(drawn), size):
            assert len(set(drawn[first : first + size])) == len(drawn[first : first + size])


@pytest.mark.parametrize("packing", PACKINGS)
def test_weights_are_shares_of_tokens_whatever_the_padding(handmade: HandmadeStore, packing: Any) -> None:
    mixture = MixtureSettings(weights={"web/fr": 1, "wiki": 1, "web/en": 2}, max_epochs=10_000)
    samples = Samples(handmade, "train", T, mixture, 1, packing)
    count = 20_000
    _, documents, _ = samples.batch(range(count))
    filled = (documents[:, 1:] >= 0).sum(axis=1)
    groups = samples.schedule(np.arange(count))[0]
    realised = np.bincount(groups, weights=filled, minlength=3) / filled.sum()
    assert np.abs(realised - [0.5, 0.25, 0.25]).max() < 0.001
    plan = samples.plan(count)
    assert [plan["groups"][name]["share"] for name in ("web/en", "web/fr", "wiki/en")] == pytest.approx(
        realised, abs=1e-3
    )
    assert plan["tokens"] == count * T


def test_a_pickled_copy_is_small_and_the_order_needs_no_history(store: TokenStore) -> None:
    samples = Samples(store, "train", T, MixtureSettings(weights={"web": 3, "wiki": 1}), seed=2)
    late = samples.sample(100_003)[0].tolist()
    data = pickle.dumps(samples)
    assert len(data) < 2000
    assert pickle.loads(data).sample(100_003)[0].tolist() == late
    assert Samples(store, "train", T, samples.mixture, seed=3).sample(100_003)[0].tolist() != late


def test_documents_of_a_built_store_end_with_their_end_tokens(store: TokenStore) -> None:
    samples = Samples(store, "train", T, seed=5)
    tokens, documents, _ = samples.batch(range(len(samples)))
    assert (documents == np.cumsum(tokens == END, axis=1) - (tokens == END)).all()


@pytest.mark.parametrize("packing", ["best_fit", "one_document"])
def test_a_built_store_is_packed_whole(store: TokenStore, packing: Any) -> None:
    samples = Samples(store, "train", T, seed=5, packing=packing)
    tokens, documents, _ = samples.batch(range(len(samples)))
    targets = tokens[:, 1:][documents[:, 1:] >= 0]
    everything = np.concatenate([text for _, _, text in store.documents("train")])
    assert np.array_equal(np.bincount(targets, minlength=320), np.bincount(everything, minlength=320))
    assert (tokens[:, 1:] == PAD).sum() == (documents[:, 1:] < 0).sum() - _leads(documents)


def _leads(documents: np.ndarray) -> int:
    """Columns of no document that stand before one: the token before a remainder."""
    return int(((documents[:, 1:-1] < 0) & (documents[:, 2:] >= 0)).sum())


def test_the_next_epoch_has_the_same_windows_in_another_order(store: TokenStore) -> None:
    samples = Samples(store, "train", T, seed=1)
    size = len(samples)
    first, second = ([row.tobytes() for row in samples.batch(range(e * size, (e + 1) * size))[0]] for e in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


def test_the_plan_adds_up_and_the_cap_explains_itself(store: TokenStore) -> None:
    mixture = MixtureSettings(weights={"web": 1, "wiki": 3}, max_epochs=2)
    samples = Samples(store, "train", T, mixture, seed=1)
    plan = samples.plan(4000)
    for part in ("sources", "groups"):
        assert sum(each["tokens"] for each in plan[part].values()) == plan["tokens"] == 4000 * T
    assert [name.split("/")[0] for name in plan["left_out"]] == ["code"]
    allowed = samples.schedule.samples_within(2 * samples.schedule.windows)
    samples.check(allowed)
    assert max(source["epochs"] for source in samples.plan(allowed)["sources"].values()) <= 2
    assert max(source["epochs"] for source in samples.plan(allowed + 1)["sources"].values()) > 2
    with pytest.raises(ValueError, match=r"read 'wiki/.*' .* times, mixture.max_epochs is 2.*At most") as error:
        samples.check(allowed + 1)
    assert f"{allowed * T:,} tokens fit" in str(error.value)
    capped = Samples(store, "train", T, mixture.model_copy(update={"caps": {"wiki": 1.5}}), seed=1)
    with pytest.raises(ValueError, match=r"mixture.caps\[wiki\] is 1.5"):
        capped.check(allowed)


def test_the_plan_tells_its_stages(handmade: HandmadeStore) -> None:
    stages = [{"until_tokens": 50 * T, "weights": {"web/en": 1}}, {"weights": {"wiki": 1, "web/en": 1}}]
    samples = Samples(handmade, "train", T, MixtureSettings.model_validate({"curriculum": stages}), 1)
    plan = samples.plan(150)
    assert [stage["samples"] for stage in plan["stages"]] == [50, 100]
    assert plan["stages"][0]["shares"] == {"web/en": 1}
    assert plan["stages"][1]["shares"] == pytest.approx({"web/en": 0.5, "wiki/en": 0.5}, abs=0.02)
    assert plan["groups"]["web/en"]["tokens"] == pytest.approx(100 * T, abs=2 * T)


def test_the_fingerprint_names_the_order(handmade: HandmadeStore) -> None:
    def name(*arguments: Any) -> str:
        return Samples(handmade, "train", T, *arguments).plan(1)["fingerprint"]

    different = [(), (MixtureSettings(temperature=2),), (None, 1), (None, 0, "best_fit")]
    assert len({name(*arguments) for arguments in different}) == 4
    assert name() == name()


def test_wrong_mixtures_are_named(store: TokenStore, handmade: HandmadeStore) -> None:
    with pytest.raises(ValueError, match="no source 'wikki'; there are code, web, wiki"):
        Samples(store, "train", T, MixtureSettings(weights={"wikki": 1}))
    with pytest.raises(ValueError, match="no source is as long as one sample"):
        Samples(store, "validation", 10**7)
    with pytest.raises(ValueError, match="'web' is shorter than one sample"):
        Samples(store, "validation", 10**7, MixtureSettings(weights={"web": 1}))
    with pytest.raises(ValueError, match="no split 'nowhere'"):
        Samples(store, "nowhere", T)
    with pytest.raises(ValueError, match="packing: 'best' "):
        Samples(store, "train", T, packing="best")  # type: ignore[arg-type]
    late = MixtureSettings.model_validate({"curriculum": [{"until_tokens": T - 1}, {}]})
    with pytest.raises(ValueError, match=f"no sample ends before until_tokens {T - 1}"):
        Samples(handmade, "train", T, late)
