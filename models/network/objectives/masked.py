"""Hidden tokens, recovered from both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.network.objectives.base import (
    FIRST_IDS,
    IGNORE,
    KEYS,
    MASK,
    NO_DOCUMENT,
    ROWS,
    Batched,
    Keys,
    Sample,
    Tokens,
    ids,
    listed,
    whole,
)
from models.network.objectives.chance import below, keys, uniform
from pipelines.kernels import njit


@dataclass(frozen=True)
class Masked(Batched):
    """Recover hidden tokens from both sides (Devlin et al. 2019; rate 0.3 as in Wettig et al. 2023 and ModernBERT).

    Tokens are hidden in spans of geometric length (Joshi et al. 2020, SpanBERT, who cut it at 10), and a span is shown
    in one way. Spans may touch; they end at a special token and with their document. Whatever the length, each
    ordinary token is a target with probability `rate` exactly: a span begins anew with probability
    rate / (rate + mean_span (1 - rate)), which makes `rate` the stationary share, and a document starts from it.

    Args:
        vocabulary_size: random replacements are drawn from the ordinary ids below it.
        rate: the share of ordinary tokens that become targets; special tokens never do.
        mean_span: tokens of a span on average; 1 hides each token independently.
        masked: the share of spans shown as `<|mask|>`, one for each token.
        replaced: the share shown as random ordinary tokens; the rest is shown as it is.
        special: ids of the special tokens, in the order of their names in `base`.
    """

    vocabulary_size: int
    rate: float = 0.3
    mean_span: float = 1.0
    masked: float = 0.8
    replaced: float = 0.1
    special: tuple[int, ...] = FIRST_IDS

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1 or self.masked < 0 or self.replaced < 0 or self.masked + self.replaced > 1:
            raise ValueError(f"rates out of range: {self}")
        if not 1 <= self.mean_span < float("inf"):
            raise ValueError(f"mean_span {self.mean_span}: out of range, expected 1 or more")
        if self.vocabulary_size <= max(len(self.special), int(ids(self.special).max())):
            raise ValueError(
                f"vocabulary_size {self.vocabulary_size} leaves no ordinary token beside the special ones "
                f"(the largest is {max(self.special)})"
            )

    def batch(self, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """Inputs with hidden tokens, labels at the targets only."""
        inputs, numbers = whole(tokens[:, 1:]), whole(documents[:, 1:])
        labels = np.empty_like(inputs)
        mask, ascending = self.special[MASK], np.sort(ids(self.special))
        again = self.rate / (self.rate + self.mean_span * (1 - self.rate))
        chances = np.array([self.rate, again, 1 - 1 / self.mean_span, self.masked, self.masked + self.replaced])
        _hide(numbers, keys(seed, sample_ids), ascending, mask, self.vocabulary_size, chances, inputs, labels)
        return inputs, labels, numbers


@njit(f"void({ROWS}, {KEYS}, int64[::1], int64, int64, float64[::1], {ROWS}, {ROWS})", cache=True, nogil=True)
def _hide(
    documents: Tokens,
    keys: Keys,
    ascending: Tokens,
    mask: int,
    vocabulary_size: int,
    chances: NDArray[np.float64],
    inputs: Tokens,
    labels: Tokens,
) -> None:
    """`chances`: that a document's first token is hidden; that a span begins; that it goes on; how it is shown."""
    rate, again, goes_on, masked, replaced = chances
    rows, length = inputs.shape
    for row in range(rows):
        key = keys[row]
        hidden, shown, document = False, 0.0, int(NO_DOCUMENT)
        for t in range(length):
            token = inputs[row, t]
            labels[row, t] = IGNORE
            if documents[row, t] == NO_DOCUMENT or listed(token, ascending):
                document = NO_DOCUMENT
                continue
            draw = uniform(key, 3 * t)
            if documents[row, t] != document:
                begins = draw < rate
                hidden = begins
            elif hidden:
                hidden = draw < goes_on + (1 - goes_on) * again
                begins = hidden and draw >= goes_on
            else:
                begins = draw < again
                hidden = begins
            document = documents[row, t]
            if begins:
                shown = uniform(key, 3 * t + 1)
            if hidden:
                labels[row, t] = token
                if shown < masked:
                    inputs[row, t] = mask
                elif shown < replaced:
                    other = below(key, 3 * t + 2, vocabulary_size - len(ascending))
                    for special in ascending:
                        if other >= special:
                            other += 1
                    inputs[row, t] = other
