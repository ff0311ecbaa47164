"""The n-gram yardstick: a distribution, and the same one as a plain-Python reading of Chen and Goodman."""

import math
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.evaluation.yardsticks import KneserNey

VOCABULARY, END = 6, 5
documents = st.lists(st.lists(st.integers(0, 4), max_size=12), min_size=1, max_size=8)


class Plain:
    """Slow and literal: dictionaries of n-grams, recursion over orders."""

    def __init__(self, texts: list[list[int]], order: int) -> None:
        self.order = order
        raw: list[Counter] = [Counter() for _ in range(order + 1)]
        for text in texts:
            padded = ["<s>", *text, END]
            for i in range(1, len(padded)):
                for n in range(1, min(order, i + 1) + 1):
                    raw[n][tuple(padded[i - n + 1 : i + 1])] += 1
        self.counts = [Counter()] * (order + 1)
        self.discounts = [[0.0] * 4] * (order + 1)
        for n in range(1, order + 1):
            left = defaultdict(set)
            if n < order:
                for gram in raw[n + 1]:
                    left[gram[1:]].add(gram[0])
            lower = {gram: c if gram[0] == "<s>" else len(left[gram]) for gram, c in raw[n].items()}
            self.counts[n] = raw[n] if n == order else Counter(lower)
            self.discounts[n] = self._discount(self.counts[n])

    def _discount(self, counts: Counter) -> list[float]:
        have = Counter(counts.values())
        answer = [0.0, 0.5, 0.5, 0.5]
        if have[1] and have[2]:
            y = have[1] / (have[1] + 2 * have[2])
            for k in (1, 2, 3):
                if have[k] and have[k + 1]:
                    d = k - (k + 1) * y * have[k + 1] / have[k]
                    answer[k] = d if 0 < d < k else 0.5
        return answer

    def p(self, context: tuple, word: int, n: int) -> float:
        if n == 0:
            return 1 / VOCABULARY
        context = context[len(context) - (n - 1) :] if n > 1 else ()
        lower = self.p(context[1:], word, n - 1)
        following = {g[-1]: c for g, c in self.counts[n].items() if g[:-1] == context and c}
        total = sum(following.values())
        if not total:
            return lower
        spare = sum(self.discounts[n][min(c, 3)] for c in following.values())
        c = following.get(word, 0)
        return max(c - self.discounts[n][min(c, 3)], 0) / total + spare / total * lower

    def nats(self, text: list[int]) -> list[float]:
        padded = ["<s>", *text]
        return [
            -math.log(self.p(tuple(padded[max(0, i - self.order + 1) : i]), padded[i], min(self.order, i + 1)))
            for i in range(1, len(padded))
        ]


@given(documents, documents, st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_equals_the_plain_reading(train: list[list[int]], held: list[list[int]], order: int) -> None:
    ours = KneserNey([np.array(d, np.int64) for d in train], order, VOCABULARY, END)
    plain = Plain(train, order)
    for text, nats in zip(held, ours.nats([np.array(d, np.int64) for d in held]), strict=True):
        assert nats.tolist() == pytest.approx(plain.nats(text), abs=1e-10)


@example([[]], [], 3)
@given(documents, st.lists(st.integers(0, 4), max_size=6), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_probabilities_sum_to_one(train: list[list[int]], context: list[int], order: int) -> None:
    model = KneserNey([np.array(d, np.int64) for d in train], order, VOCABULARY, END)
    assert model.distribution(context).sum() == pytest.approx(1, abs=1e-12)


def test_longer_contexts_help_where_there_is_structure() -> None:
    text = np.array([0, 1, 2, 0, 3, 4] * 50)
    scores = [KneserNey([text] * 3, order, VOCABULARY, END).nats([text])[0].mean() for order in (1, 2, 3)]
    assert scores[0] > scores[1] + 1 > scores[2] + 1.2


def test_half_a_million_tokens_take_seconds() -> None:
    draw = np.random.default_rng(0)
    texts = [draw.zipf(1.2, 500) % 4096 for _ in range(1000)]
    started = time.process_time()
    model = KneserNey(texts, 5, 4096, 0)
    model.nats(texts[:100])
    assert model.tokens == 500_000 + 1000
    assert time.process_time() - started < 10


def test_foreign_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 to 5"):
        KneserNey([np.array([7, 1])], 2, VOCABULARY, END)
    with pytest.raises(ValueError, match="at least 1"):
        KneserNey([], 2, VOCABULARY, END)
