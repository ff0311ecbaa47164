"""The next token: of everything, or of what comes after a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.network.objectives.base import (
    IGNORE,
    KEYS,
    NO_DOCUMENT,
    ROWS,
    Batched,
    Keys,
    Sample,
    Tokens,
    run_end,
    whole,
)
from models.network.objectives.chance import below, keys
from pipelines.kernels import njit


@dataclass(frozen=True)
class Causal(Batched):
    """Predict the next token, within a document.

    An input belongs to the document of the token it predicts. So `<|endoftext|>` is the last label of the document
    that it ends and the first input of the one that follows: a document's first token is learned too, from nothing
    but the mark that generation and scoring start with.
    """

    def batch(self, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """Inputs are tokens[:-1], labels tokens[1:], documents those of the labels."""
        labels, numbers = whole(tokens[:, 1:]), whole(documents[:, 1:])
        np.putmask(labels, numbers == NO_DOCUMENT, IGNORE)
        return whole(tokens[:, :-1]), labels, numbers


@dataclass(frozen=True)
class Prefix(Batched):
    """Predict the next token after a prefix that is there to be read only (Liu et al. 2018; Raffel et al. 2020).

    Where a document is cut is drawn evenly: of n tokens 0 to n - 1 are prefix, the rest (at least one) are targets.
    In Raffel's prefix language model the prefix is also seen both ways. A decoder's attention is causal everywhere,
    so what is left here is the choice of targets: the conditional part of `Causal`, on half of the tokens.
    """

    def batch(self, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """As `Causal`, with no labels in the prefixes."""
        inputs, labels, numbers = Causal().batch(tokens, documents, seed, sample_ids)
        _leave_out(numbers, keys(seed, sample_ids), labels)
        return inputs, labels, numbers


@njit(f"void({ROWS}, {KEYS}, {ROWS})", cache=True, nogil=True)
def _leave_out(documents: Tokens, keys: Keys, labels: Tokens) -> None:
    rows, length = documents.shape
    for row in range(rows):
        start = 0
        while start < length:
            end = run_end(documents, row, start)
            if documents[row, start] != NO_DOCUMENT:
                labels[row, start : start + below(keys[row], start, end - start)] = IGNORE
            start = end
