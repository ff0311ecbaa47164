"""Span corruption for a decoder: the text with holes, then what was in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.network.objectives.base import (
    END_OF_TEXT,
    FIM_MIDDLE,
    FIRST_IDS,
    KEYS,
    NO_DOCUMENT,
    ROWS,
    SENTINELS,
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
from models.network.objectives.chance import below, keys
from pipelines.kernels import njit

_SHORTEST = 7
"""Tokens a document has at least, its end apart, if it is to be corrupted."""


@dataclass(frozen=True)
class Span(Batched):
    """Recover spans from the text around them (Raffel et al. 2020, T5; settings as in Tay et al. 2023, UL2).

    A document becomes `text <s0> text <s1> text <|fim_middle|> <s0> span <s1> span` and its end, if it ends in the
    window; what comes after `<|fim_middle|>` are the targets. Six reserved tokens are the sentinels, used in turn: the
    k-th hole is marked by number k mod 6. n tokens of text lose round(rate n) of them to
    max(1, about rate n / mean_span) spans that do not touch; all choices of such spans are equally likely.

    A window keeps its length: the 2 spans + 1 marks take the place of the document's last tokens before its end, which
    are not seen in this sample (9 % of a long document by default; 2 rate / mean_span per token of text). Documents of
    fewer than 7 tokens, and those that hold a special token before their end, are left as they are and learned as by
    `Causal`.

    Against T5: one sequence instead of an encoder's and a decoder's; few sentinels; a document may begin with a span
    and end with text; targets end with `<|endoftext|>`, no sentinel.

    Args:
        rate: the share of tokens in spans.
        mean_span: tokens of a span on average. At least rate / (1 - rate), or there were no text between the spans.
        special: ids of the special tokens, in the order of their names in `base`.
    """

    rate: float = 0.15
    mean_span: float = 3.0
    special: tuple[int, ...] = FIRST_IDS

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"rate {self.rate}: out of range, expected more than 0 and less than 1")
        least = max(1.0, self.rate / (1 - self.rate))
        if not least <= self.mean_span < float("inf"):
            raise ValueError(
                f"mean_span {self.mean_span}: out of range at rate {self.rate}, expected {least:g} or more"
            )
        ids(self.special)

    def batch(self, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """As `Causal` on the corrupted windows, with no labels before the spans."""
        tokens, documents = whole(tokens), whole(documents)
        inputs, labels, numbers = Causal().batch(tokens, documents, seed, sample_ids)
        drawn = keys(seed, sample_ids)
        _corrupt(tokens, documents, drawn, ids(self.special), self.rate, self.mean_span, inputs, labels)
        return inputs, labels, numbers


@njit(f"void({ROWS}, {ROWS}, {KEYS}, int64[::1], float64, float64, {ROWS}, {ROWS})", cache=True, nogil=True)
def _corrupt(
    tokens: Tokens,
    documents: Tokens,
    keys: Keys,
    special: Tokens,
    rate: float,
    mean_span: float,
    inputs: Tokens,
    labels: Tokens,
) -> None:
    ascending = np.sort(special)
    rows, length = tokens.shape
    for row in range(rows):
        key, end, draw = keys[row], 0, 0
        while end < length:
            start, end = end, run_end(documents, row, end)
            room = end - start - int(tokens[row, end - 1] == special[END_OF_TEXT])
            if (
                documents[row, start] == NO_DOCUMENT
                or room < _SHORTEST
                or not plain(tokens, row, start, start + room, ascending)
            ):
                continue
            per_token = rate / mean_span
            spans = max(1, min(round((room - 1) * per_token / (1 + 2 * per_token)), room // 4))
            text = room - 1 - 2 * spans
            hidden = min(max(round(text * rate), spans), text - 1)
            kept = text - hidden
            # Which of the places between neighbouring tokens are borders, chosen one by one (Knuth 1969, algorithm S).
            # The text before the first and after the last span may be empty: each is drawn one token longer.
            text_places, text_borders = kept + 1, spans
            span_places, span_borders = hidden - 1, spans - 1
            read, write, answer = start, start, start + kept + spans + 1
            for number in range(spans):
                size = 0 if number == 0 else 1
                while below(key, draw, text_places) >= text_borders:
                    size, text_places, draw = size + 1, text_places - 1, draw + 1
                text_places, text_borders, draw = text_places - 1, text_borders - 1, draw + 1
                move(tokens, row, read, size, inputs, labels, write, False)
                read, write = read + size, write + size
                sentinel = special[SENTINELS[number % len(SENTINELS)]]
                put(inputs, labels, row, write, sentinel, False)
                put(inputs, labels, row, answer, sentinel, True)
                write, answer, size = write + 1, answer + 1, 1
                if span_borders > 0:
                    while below(key, draw, span_places) >= span_borders:
                        size, span_places, draw = size + 1, span_places - 1, draw + 1
                    span_places, span_borders, draw = span_places - 1, span_borders - 1, draw + 1
                else:
                    size += span_places
                move(tokens, row, read, size, inputs, labels, answer, True)
                read, answer = read + size, answer + size
            move(tokens, row, read, start + text - read, inputs, labels, write, False)
            put(inputs, labels, row, start + kept + spans, special[FIM_MIDDLE], False)
