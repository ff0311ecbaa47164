"""Interpolated modified Kneser-Ney n-grams on token ids (Chen and Goodman 1999, section 3), in numpy.

Counts are raw at the highest order and for n-grams that begin a document; elsewhere they are the number of distinct
tokens seen to the left. Discounts of each order come from its counts of counts; the unigram is interpolated with the
uniform distribution, so that every token has a probability above 0. A document is its tokens and an end token,
which is predicted like any other; contexts never reach across a document's beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_UNSEEN = -1


@dataclass(frozen=True)
class _Order:
    """One order's n-grams: sorted keys, their counts, and sums over each context."""

    keys: Ints
    """(oldest token * number of (n-1)-grams + id of the rest), sorted; a row is the n-gram's id."""
    counts: Ints
    """Raw or continuation counts, one for each n-gram."""
    discounts: Floats
    """[4]: what is taken from counts of 0, 1, 2, 3 and more."""
    totals: Floats
    """Sum of the counts of all n-grams in each context, by the context's id."""
    spare: Floats
    """Mass taken from all n-grams in each context, by the context's id."""


class KneserNey:
    """An n-gram model.

    Args:
        documents: token ids, each document without its end token.
        order: n; 1 is a unigram model.
        vocabulary_size: ids are below it.
        end: the id of the end token, predicted after each document.
    """

    def __init__(
        self, documents: Sequence[npt.NDArray[np.integer]], order: int, vocabulary_size: int, end: int
    ) -> None:
        if order < 1 or not len(documents):
            raise ValueError(f"order {order} over {len(documents)} documents: expected both to be at least 1")
        self.order, self.vocabulary_size, self.end = order, vocabulary_size, end
        self.documents = len(documents)
        stream, history = _stream(documents, vocabulary_size, end)
        self.tokens = len(stream) - len(documents)
        if len(stream) and (stream.max() > vocabulary_size or stream.min() < 0):
            raise ValueError(f"token ids {stream.min()} to {stream.max()}: expected 0 to {vocabulary_size - 1}")
        self._orders: list[_Order] = []
        self._fit(stream, history)

    def nats(self, documents: Sequence[npt.NDArray[np.integer]]) -> list[Floats]:
        """-ln p of every token of every document (the end token is not scored)."""
        if not len(documents):
            return []
        stream, history = _stream(documents, self.vocabulary_size, self.end)
        scored = -np.log(self._probabilities(stream, history))
        bounds = np.cumsum([len(d) + 2 for d in documents])[:-1]
        return [piece[1:-1] for piece in np.split(scored, bounds)]

    def distribution(self, context: Sequence[int]) -> Floats:
        """p over the vocabulary after a document's first tokens."""
        following = [np.array([*context, token]) for token in range(self.vocabulary_size)]
        return np.exp(-np.array([scores[-1] for scores in self.nats(following)]))

    def _fit(self, stream: Ints, history: Ints) -> None:
        pad, predicted = self.vocabulary_size, history >= 0
        ids, grams = stream, self.vocabulary_size + 1
        occurrences, keyed, firsts = [], [], []
        identities = [ids]
        for n in range(2, self.order + 1):
            valid = np.flatnonzero(history + 2 >= n)
            keys = stream[valid - n + 1] * grams + ids[valid]
            unique, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
            occurrences.append(counts)
            keyed.append((unique, grams))
            firsts.append(valid[first])
            ids = np.full(len(stream), _UNSEEN, np.int64)
            ids[valid] = inverse
            grams = len(unique)
            identities.append(ids)
        for n in range(1, self.order + 1):
            size = self.vocabulary_size + 1 if n == 1 else len(keyed[n - 2][0])
            raw = np.bincount(stream[predicted], minlength=size) if n == 1 else occurrences[n - 2]
            counts = raw
            if n < self.order:
                longer, below = keyed[n - 1]
                counts = np.bincount(longer % below, minlength=size)
                if n > 1:
                    counts = np.where(keyed[n - 2][0] // keyed[n - 2][1] == pad, raw, counts)
            if n == 1:
                contexts, context_count = np.zeros(size, np.int64), 1
            else:
                contexts = identities[n - 2][firsts[n - 2] - 1]
                context_count = self.vocabulary_size + 1 if n == 2 else len(keyed[n - 3][0])
            keys = np.arange(size) if n == 1 else keyed[n - 2][0]
            self._orders.append(_order(keys, counts, contexts, context_count))

    def _probabilities(self, stream: Ints, history: Ints) -> Floats:
        first = self._orders[0]
        p = self._interpolate(first, stream, np.zeros(len(stream), np.int64), np.full(len(stream), 1.0))
        ids = stream
        for n in range(2, self.order + 1):
            order = self._orders[n - 1]
            grams = len(self._orders[n - 2].keys)
            valid = np.flatnonzero(history + 2 >= n)
            contexts = ids[valid - 1]
            keys = stream[valid - n + 1] * grams + ids[valid]
            found = _positions(order.keys, keys)
            found[ids[valid] == _UNSEEN] = _UNSEEN
            known = contexts != _UNSEEN
            updated = self._interpolate(order, found[known], contexts[known], p[valid[known]])
            p[valid[known]] = updated
            ids = np.full(len(stream), _UNSEEN, np.int64)
            ids[valid] = found
        return p

    def _interpolate(self, order: _Order, grams: Ints, contexts: Ints, lower: Floats) -> Floats:
        """p of n-grams, given p of the next lower order; where a context was never seen that is the answer."""
        if order is self._orders[0]:
            lower = np.full(len(grams), 1 / self.vocabulary_size)
        counts = np.zeros(len(grams), order.counts.dtype)
        counts[grams >= 0] = order.counts[grams[grams >= 0]]
        totals = order.totals[contexts]
        kept = np.maximum(counts - order.discounts[np.minimum(counts, 3)], 0)
        seen = totals > 0
        safe = np.where(seen, totals, 1)
        return np.where(seen, kept / safe + order.spare[contexts] / safe * lower, lower)


def _order(keys: Ints, counts: Ints, contexts: Ints, context_count: int) -> _Order:
    discounts = _discounts(counts)
    totals = np.bincount(contexts, weights=counts, minlength=context_count).astype(np.float64)
    taken = discounts[np.minimum(counts, 3)]
    spare = np.bincount(contexts, weights=taken, minlength=context_count).astype(np.float64)
    return _Order(keys, counts, discounts, totals, spare)


def _discounts(counts: Ints) -> Floats:
    """D of counts 0, 1, 2, 3+; in small data, where a count of counts is missing or D falls out of 0…count, 0.5."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    answer = np.array([0.0, 0.5, 0.5, 0.5])
    if n1 and n2:
        y = n1 / (n1 + 2 * n2)
        for k, (here, above) in enumerate(((n1, n2), (n2, n3), (n3, n4)), start=1):
            d = k - (k + 1) * y * above / here if here and above else 0.5
            answer[k] = d if 0 < d < k else 0.5
    return answer


def _positions(keys: Ints, wanted: Ints) -> Ints:
    """Rows of the wanted keys in sorted keys, or -1."""
    if not len(keys):
        return np.full(len(wanted), _UNSEEN, np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, _UNSEEN)


def _stream(documents: Sequence[npt.NDArray[np.integer]], pad: int, end: int) -> tuple[Ints, Ints]:
    """Documents as `pad tokens end pad tokens end …`, and how many tokens of its document precede each (-1 at pads)."""
    lengths = np.array([len(d) + 2 for d in documents])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    stream = np.full(int(lengths.sum()), end, np.int64)
    history = np.arange(len(stream)) - np.repeat(starts, lengths) - 1
    stream[starts] = pad
    stream[np.setdiff1d(np.flatnonzero(history >= 0), starts + lengths - 1, assume_unique=True)] = np.concatenate(
        [np.asarray(d, np.int64) for d in documents]
    )
    return stream, history
