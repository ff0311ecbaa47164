"""Signatures and bands against what theory says of them, on texts whose similarity is known."""

import hashlib
import math
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.buffers import strings
from pipelines.curation.dedup.minhash import NO_KEY, MinHash, similarity
from pipelines.curation.dedup.settings import NearDuplicates
from pipelines.curation.words import word_hashes

FINEWEB, REFINEDWEB = NearDuplicates(), NearDuplicates(preset="refinedweb")
STEEP = NearDuplicates(preset="custom", bands=9, rows=13, shingle_words=3)
SEEDS = 4
TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "c", "é", "7"]), max_size=12).map(" ".join), max_size=6)


def name(number: int) -> str:
    """A word of letters alone: digits are all alike."""
    return number.to_bytes(8, "little").hex().translate(str.maketrans("0123456789", "ghijklmnop"))


def pairs(count: int, level: float, k: int, chance: random.Random) -> tuple[list[str], float]:
    """So many pairs of texts, one after the other, and the Jaccard similarity that each pair has exactly.

    No word is there twice, so no shingle is; each replaced word is in k shingles, and no two are in one.
    """
    shingles = 60 * k
    changes = round(shingles * (1 - level) / (k * (1 + level)))
    texts = []
    for _ in range(count):
        words = [name(chance.getrandbits(60)) for _ in range(shingles + k - 1)]
        texts.append(" ".join(words))
        places = chance.sample(range(60), changes)
        for place in places:
            words[k - 1 + k * place] = name(chance.getrandbits(60))
        texts.append(" ".join(words))
    return texts, (shingles - k * changes) / (shingles + k * changes)


def bounds(n: int, p: float, outside: float) -> tuple[int, int]:
    """The counts of n trials between which all but `outside` of the binomial distribution lies, half on each side."""
    logs = [
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + (k * math.log(p) if k else 0)
        + ((n - k) * math.log1p(-p) if n - k else 0)
        for k in range(n + 1)
    ]
    below = np.cumsum(np.exp(logs))
    return int(np.searchsorted(below, outside / 2)), int(np.searchsorted(below, 1 - outside / 2))


def hashers(near: NearDuplicates) -> list[MinHash]:
    return [MinHash(near.model_copy(update={"seed": seed})) for seed in range(SEEDS)]


def test_bounds_are_those_of_a_table() -> None:
    assert bounds(10, 0.5, 0.02) == (1, 9)
    assert bounds(100, 0.1, 0.05) == (5, 16)


@pytest.mark.parametrize(
    ("near", "count", "levels"),
    [
        (FINEWEB, 150, (0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)),
        (REFINEDWEB, 40, (0.6, 0.7, 0.75, 0.8)),
        (STEEP, 150, (0.6, 0.7, 0.8, 0.9)),
    ],
    ids=["fineweb", "refinedweb", "9x13"],
)
def test_pairs_share_a_band_as_often_as_the_formula_says(
    near: NearDuplicates, count: int, levels: tuple[float, ...]
) -> None:
    bands, rows, k = near.shape
    for level in levels:
        chance = random.Random(level)
        hits = 0
        for hasher in hashers(near):
            texts, jaccard = pairs(count, level, k, chance)
            keys = hasher.band_keys(strings(texts))
            hits += int((keys[::2] == keys[1::2]).any(axis=1).sum())
        # Of all the lines here together one in a hundred runs would be outside, if other seeds were drawn.
        low, high = bounds(SEEDS * count, 1 - (1 - jaccard**rows) ** bands, 0.01 / 15)
        assert low <= hits <= high, f"at {jaccard:.3f}: {hits} of {SEEDS * count}"
        assert near.collides(jaccard) == pytest.approx(1 - (1 - jaccard**rows) ** bands)


@pytest.mark.parametrize("level", [0.05, 0.2, 0.5, 0.8, 0.95])
def test_the_agreement_of_signatures_is_the_jaccard_similarity(level: float) -> None:
    agreements, estimates = [], []
    chance = random.Random(level)
    for hasher in hashers(FINEWEB):
        texts, jaccard = pairs(100, level, 5, chance)
        signatures = hasher.signatures(strings(texts))
        agreements.append(signatures[::2] == signatures[1::2])
        sketches = hasher.sketches(signatures)
        estimates.append(similarity(sketches[::2], sketches[1::2], hasher.sketched))
    agreed = np.concatenate(agreements)
    error = math.sqrt(jaccard * (1 - jaccard) / agreed.size)
    assert abs(agreed.mean() - jaccard) < 4 * error
    # By function too: none is worse than chance makes it.
    errors = (agreed.mean(axis=0) - jaccard) / math.sqrt(jaccard * (1 - jaccard) / len(agreed))
    assert np.abs(errors).max() < 5
    if level >= 0.5:  # below, estimates are cut off at 0
        apart = (1 - jaccard) * 0.75
        spread = math.sqrt(apart * (1 - apart) / hasher.sketched) / 0.75
        found = np.concatenate(estimates)
        assert abs(found.mean() - jaccard) < 4 * spread / math.sqrt(len(found))
        assert found.std() == pytest.approx(spread, rel=0.2)


def test_sketches_hold_two_bits_of_each_minimum() -> None:
    for near in (FINEWEB, REFINEDWEB):
        hasher = MinHash(near)
        texts, _ = pairs(20, 0.6, 5, random.Random(3))
        signatures = hasher.signatures(strings(texts))
        agree = ((signatures[::2] ^ signatures[1::2]) & 3 == 0)[:, : hasher.sketched].mean(axis=1)
        sketches = hasher.sketches(signatures)
        found = similarity(sketches[::2], sketches[1::2], hasher.sketched)
        np.testing.assert_allclose(found, np.clip((agree - 0.25) / 0.75, 0, 1), atol=1e-12)


def by_definition(text: str, near: NearDuplicates) -> list[int]:
    """The signature, in Python's numbers."""
    bands, rows, k = near.shape
    words = word_hashes(strings([text]), digits_alike=True)[1].tolist()
    if not words:
        return [2**32 - 1] * bands * rows
    shingles = set()
    for begin in range(max(1, len(words) - k + 1)):
        h = 0
        for word in words[begin : begin + k]:
            h = (h * 0x9E3779B97F4A7C15 + word) % 2**64
        for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            h = (h ^ (h >> 33)) * multiplier % 2**64
        shingles.add((h ^ (h >> 33)) >> 32)
    chance = np.random.Generator(np.random.PCG64(near.seed))
    a, b = (chance.integers(0, 2**64, bands * rows, np.uint64).tolist() for _ in range(2))
    return [min(((x * y + z) % 2**64) >> 32 for x in shingles) for y, z in zip(a, b, strict=True)]


@settings(max_examples=50)
@given(TEXTS, st.integers(0, 3), st.integers(1, 6))
def test_signatures_follow_the_definition(texts: list[str], seed: int, k: int) -> None:
    near = NearDuplicates(preset="custom", bands=3, rows=2, shingle_words=k, seed=seed)
    found = MinHash(near).signatures(strings(texts))
    assert found.tolist() == [by_definition(text, near) for text in texts]


@given(TEXTS, st.data())
def test_a_batch_may_be_cut_anywhere(texts: list[str], data: st.DataObject) -> None:
    hasher = MinHash(FINEWEB)
    column = strings(texts)
    at = data.draw(st.integers(0, len(texts)))
    parts = [column[:at], column[at:]]
    np.testing.assert_array_equal(
        np.concatenate([hasher.band_keys(part) for part in parts]), hasher.band_keys(column), strict=True
    )
    order = data.draw(st.permutations(range(len(texts))))
    np.testing.assert_array_equal(
        hasher.band_keys(column.take(pa.array(order, pa.int64()))), hasher.band_keys(column)[list(order)]
    )


PRINT_KEYS = """
import hashlib, sys
from pipelines.buffers import strings
from pipelines.curation.dedup.minhash import MinHash
from pipelines.curation.dedup.settings import NearDuplicates
keys = MinHash(NearDuplicates()).band_keys(strings(sys.stdin.read().split("|")))
print(hashlib.sha256(keys.astype("<u8").tobytes()).hexdigest())
"""


def test_another_process_finds_the_same_keys() -> None:
    texts = pairs(20, 0.8, 5, random.Random(5))[0]
    mine = hashlib.sha256(MinHash(FINEWEB).band_keys(strings(texts)).astype("<u8").tobytes()).hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", PRINT_KEYS],
        input="|".join(texts),
        env={"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == mine


def shared(one: str, other: str, near: NearDuplicates = FINEWEB) -> int:
    """How many bands two texts share."""
    keys = MinHash(near).band_keys(strings([one, other]))
    return int((keys[0] == keys[1]).sum())


def test_a_text_shorter_than_a_shingle_is_one_shingle() -> None:
    assert shared("Tea for two", "tea, for TWO!") == 14
    assert shared("tea for two", "tea for three") == 0
    assert shared("tea for two", "tea for two and two") == 0
    assert shared("tea", "coffee") == 0
    assert shared("tea", "tea tea") == 0


def test_texts_without_words_have_no_key() -> None:
    keys = MinHash(FINEWEB).band_keys(strings(["", "...", " \n", "word", None]))
    assert (keys[[0, 1, 2, 4]] == NO_KEY).all()
    assert (keys[3] != NO_KEY).all()


def test_a_shingle_counts_once_and_its_place_not_at_all() -> None:
    words = [name(number) for number in range(9)]
    assert shared(" ".join(words * 2), " ".join(words * 7)) == 14
    rotated = words[4:] + words[:4]
    assert shared(" ".join([*words, *words]), " ".join([*rotated, *rotated])) == 14
    assert shared(" ".join(words), " ".join(reversed(words))) == 0


def test_bands_of_equal_minima_have_different_keys() -> None:
    """A band's number is part of its key: nothing collides across bands."""
    texts = strings([name(number) for number in range(500)])
    keys = MinHash(NearDuplicates(preset="custom", bands=40, rows=1, shingle_words=5)).keys_of(
        np.full((3, 40), 7, np.uint32)
    )
    assert len(np.unique(keys)) == 40
    assert len(np.unique(MinHash(FINEWEB).band_keys(texts))) == 500 * 14


def values(count: int, functions: int) -> NDArray[np.uint32]:
    """uint32[count, functions]: what each function gives for so many numbers: a text of one shingle is its minimum."""
    near = NearDuplicates(preset="custom", bands=1024, rows=functions // 1024, shingle_words=5)
    return MinHash(near).signatures(strings([name(number) for number in range(count)]))


@pytest.mark.parametrize("shift", [30, 0], ids=["upper bits", "lower bits"])
def test_hash_functions_are_uniform_and_independent_in_pairs(shift: int) -> None:
    found = (values(6, 1 << 16) >> shift & 3).astype(np.int64)
    for one in range(6):
        for other in range(one):
            cells = np.bincount(4 * found[one] + found[other], minlength=16)
            expected = found.shape[1] / 16
            # 15 degrees of freedom; one of 10,000 is above 44.3, and there are 30 tests.
            assert float(((cells - expected) ** 2 / expected).sum()) < 44.3
