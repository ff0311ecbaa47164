"""Fill-in-the-middle: what stands between two parts, learned after both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.network.objectives.base import (
    END_OF_TEXT,
    FIM_MIDDLE,
    FIM_PREFIX,
    FIM_SUFFIX,
    FIRST_IDS,
    KEYS,
    NO_DOCUMENT,
    ROWS,
    Batched,
    Keys,
    Sample,
    Tokens,
    ids,
    move,
    plain,
    put,
    run_end,
    whole,
)
from models.network.objectives.causal import Causal
from models.network.objectives.chance import below, keys, uniform
from pipelines.kernels import njit

_MARKS = 3
_SHORTEST = 2 * _MARKS + 1
"""Tokens a document has at least, its end apart, if it is to be rearranged."""


@dataclass(frozen=True)
class FillInTheMiddle(Batched):
    """Causal, with a share of the documents cut in three and the middle moved last (Bavarian et al. 2022).

    A chosen document (prefix, middle, suffix) becomes `<|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|>
    middle` (or, half of the time, suffix first: `<|fim_prefix|> <|fim_suffix|> suffix <|fim_middle|> prefix middle`).
    Cuts fall between tokens. A window keeps its length: the three marks take the place of the document's last three
    tokens before its end, which are not seen in this sample. Documents of fewer than 7 tokens, and those that hold a
    special token before their end, are left as they are.

    Args:
        rate: the share of documents rearranged.
        special: ids of the special tokens, in the order of their names in `base`.
    """

    rate: float = 0.5
    special: tuple[int, ...] = FIRST_IDS

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate {self.rate}: out of range, expected more than 0 and at most 1")
        ids(self.special)

    def batch(self, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """As `Causal`, on the rearranged windows."""
        tokens, documents = whole(tokens), whole(documents)
        inputs, labels, numbers = Causal().batch(tokens, documents, seed, sample_ids)
        _rearrange(tokens, documents, keys(seed, sample_ids), ids(self.special), self.rate, inputs, labels)
        return inputs, labels, numbers


@njit(f"void({ROWS}, {ROWS}, {KEYS}, int64[::1], float64, {ROWS}, {ROWS})", cache=True, nogil=True)
def _rearrange(
    tokens: Tokens, documents: Tokens, keys: Keys, special: Tokens, rate: float, inputs: Tokens, labels: Tokens
) -> None:
    ascending = np.sort(special)
    rows, length = tokens.shape
    for row in range(rows):
        key, end = keys[row], 0
        while end < length:
            start, end = end, run_end(documents, row, end)
            if documents[row, start] == NO_DOCUMENT or uniform(key, 4 * start) >= rate:
                continue
            room = end - start - int(tokens[row, end - 1] == special[END_OF_TEXT])
            if room < _SHORTEST or not plain(tokens, row, start, start + room, ascending):
                continue
            text = room - _MARKS
            one, two = below(key, 4 * start + 1, text + 1), below(key, 4 * start + 2, text + 1)
            first, second = min(one, two), max(one, two)
            ahead = 0 if uniform(key, 4 * start + 3) < 0.5 else first
            # PREFIX, the prefix unless the suffix is first, SUFFIX, suffix, MIDDLE, all the rest.
            at = start
            put(inputs, labels, row, at, special[FIM_PREFIX], True)
            move(tokens, row, start, ahead, inputs, labels, at + 1, True)
            at += 1 + ahead
            put(inputs, labels, row, at, special[FIM_SUFFIX], True)
            move(tokens, row, start + second, text - second, inputs, labels, at + 1, True)
            at += 1 + text - second
            put(inputs, labels, row, at, special[FIM_MIDDLE], True)
            move(tokens, row, start + ahead, second - ahead, inputs, labels, at + 1, True)
