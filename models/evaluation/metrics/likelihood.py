"""Figures from log-likelihoods: bits per byte, accuracy of choices, preference between pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from models.evaluation.metrics.statistics import Figure, Mean, Rows, Statistic


class BitsPerByte(Statistic):
    """Bits a byte of text: -sum ln p / (ln 2 * sum bytes), over all items together.

    prediction: nats, -ln p of the item (a document, a gold answer); reference: its UTF-8 bytes.
    Items are clusters: the standard error is that of a ratio by the delta method,
    e_d = bits_d - R bytes_d, se = sqrt(n / (n - 1) sum e_d^2) / sum bytes_d.
    """

    name = "bits_per_byte"
    higher_is_better = False
    width = 2

    def __init__(self, note: str = "") -> None:
        self.note = note

    def update(self, prediction: float, reference: int) -> Sequence[float]:
        """(bits, bytes) of one item. Raises ValueError for no bytes or a likelihood above 1."""
        if reference <= 0 or not prediction >= 0:
            raise ValueError(f"bits_per_byte: {prediction} nats over {reference} bytes; expected nats >= 0, bytes > 0")
        return prediction / math.log(2), float(reference)

    def finalize(self, rows: Rows) -> Figure:
        """The ratio of the sums."""
        if not len(rows):
            raise ValueError("bits_per_byte: no items")
        bits, size = (np.sort(rows.T[0]).sum(), rows.T[1].sum())
        ratio = float(bits / size)
        n = len(rows)
        residuals = np.sort((rows[:, 0] - ratio * rows[:, 1]) ** 2).sum()
        stderr = math.sqrt(n / (n - 1) * residuals) / float(size) if n > 1 else None
        note = f"|{self.note}" if self.note else ""
        return Figure(ratio, stderr, n, f"bits_per_byte|bytes:utf-8|average:micro{note}|se:delta-clustered")


class Accuracy(Mean):
    """Share of items whose gold choice has the highest score.

    prediction: scores of the choices; reference: the gold position. Of equal scores the first counts.
    """

    name = "accuracy"

    def update(self, prediction: Sequence[float], reference: int) -> Sequence[float]:
        """1 where the first best score is the gold one's. Raises ValueError for a position that is no choice."""
        if not 0 <= reference < len(prediction):
            raise ValueError(f"accuracy: gold {reference} among {len(prediction)} choices")
        return (float(int(np.argmax(prediction)) == reference),)

    def signature(self) -> str:
        """Summed log-likelihoods, whole answers."""
        return "acc|score:sum-loglikelihood|se:normal"


class NormalisedAccuracy(Accuracy):
    """`Accuracy` of scores divided by the choices' characters, the delimiter not counted."""

    name = "accuracy_normalised"

    def signature(self) -> str:
        """What the likelihoods are divided by."""
        return "acc_norm|score:sum-loglikelihood/characters|se:normal"


class Greedy(Mean):
    """Share of items that are true: for last words, those every token of which is the likeliest one.

    prediction: whether it was met; reference: not used (any value).
    """

    name = "greedy_accuracy"

    def update(self, prediction: bool, reference: object) -> Sequence[float]:
        """1 or 0."""
        return (float(prediction),)


class PairPreference(Mean):
    """Per cent of pairs whose more stereotyped sentence is the likelier one (CrowS-Pairs; 50 is balance; ties count 0).

    prediction: ln p of (more, less); reference: not used.
    """

    name = "stereotype_preference"
    higher_is_better = False
    scale: ClassVar[float] = 100.0

    def update(self, prediction: Sequence[float], reference: object) -> Sequence[float]:
        """1 where the stereotyped sentence is likelier."""
        more, less = prediction
        return (float(more > less),)

    def signature(self) -> str:
        """Whole sentences are compared."""
        return "crows-pairs|score:sum-loglikelihood|sentence:full|ties:0|se:normal"


class PairDifference(Mean):
    """Mean of ln p(more) - ln p(less): 0 is balance; says more than the share where that saturates."""

    name = "stereotype_difference"
    higher_is_better = False

    def update(self, prediction: Sequence[float], reference: object) -> Sequence[float]:
        """The signed difference in nats."""
        more, less = prediction
        return (more - less,)

    def signature(self) -> str:
        """Signed, in nats."""
        return "loglikelihood-ratio|unit:nats|signed|sentence:full|se:normal"


class MaskedAccuracy(Statistic):
    """Share of hidden tokens that come first, over all windows together.

    prediction: (right tokens, hidden tokens) of a window; reference: not used. Standard error clustered by window.
    """

    name = "fill_accuracy"
    width = 2

    def update(self, prediction: Sequence[int], reference: object) -> Sequence[float]:
        """(right, hidden)."""
        right, hidden = prediction
        return float(right), float(hidden)

    def finalize(self, rows: Rows) -> Figure:
        """Right over hidden."""
        if not len(rows):
            raise ValueError("fill_accuracy: no items")
        right, hidden = rows.sum(axis=0)
        share = float(right / hidden)
        residuals = float(((rows[:, 0] - share * rows[:, 1]) ** 2).sum())
        n = len(rows)
        stderr = math.sqrt(n / (n - 1) * residuals) / float(hidden) if n > 1 else None
        return Figure(share, stderr, int(hidden), "fill-mask|hidden-as:mask|average:tokens|se:delta-clustered")


def majority(golds: Sequence[Any]) -> float:
    """The share of the commonest gold value: what always answering it would reach."""
    counts: Mapping[Any, int] = {g: golds.count(g) for g in set(golds)}
    return max(counts.values()) / len(golds)
