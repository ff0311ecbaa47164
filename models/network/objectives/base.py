"""What an objective is, and the special tokens that objectives write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.kernels import njit

IGNORE = -100
NO_DOCUMENT = -1
"""The document of a position that belongs to none."""

SPECIAL_TOKENS = 16
"""How many special tokens a groundwork tokenizer has; a tokenizer made here has them as its first ids."""
END_OF_TEXT, PAD, MASK, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = range(6)
SENTINELS = (10, 11, 12, 13, 14, 15)
"""`<|reserved_0|>` to `<|reserved_5|>`."""
FIRST_IDS = tuple(range(SPECIAL_TOKENS))
"""The special tokens' ids, in the order of these names, in a tokenizer made here."""

ROWS = "int64[:, ::1]"
KEYS = "uint64[::1]"

Tokens = NDArray[np.int64]
Keys = NDArray[np.uint64]
Sample = tuple[Tokens, Tokens, Tokens]


class Objective(Protocol):
    """What every objective is."""

    def __call__(self, tokens: NDArray, documents: NDArray, seed: int, sample_id: int) -> Sample:
        """(input_ids [T], labels [T], documents [T]) of tokens [T+1] and documents [T+1]."""

    def batch(self, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """The same of many samples at once: each [n, T] of tokens [n, T+1] and documents [n, T+1]."""


class Batched:
    """An objective whose sample is a batch of one."""

    def __call__(self: Objective, tokens: NDArray, documents: NDArray, seed: int, sample_id: int) -> Sample:
        """See `Objective`."""
        inputs, labels, numbers = self.batch(tokens[None], documents[None], seed, [sample_id])
        return inputs[0], labels[0], numbers[0]


def whole(values: NDArray) -> Tokens:
    """A copy as int64, in rows."""
    return np.array(values, np.int64, order="C")


def ids(special: Sequence[int]) -> Tokens:
    """The special tokens' ids for a kernel. Raises ValueError when they are not 16 different ones."""
    found = np.array(special, np.int64)
    if len(found) != SPECIAL_TOKENS or len(np.unique(found)) != SPECIAL_TOKENS:
        raise ValueError(f"special: expected {SPECIAL_TOKENS} different ids, found {tuple(special)}")
    return found


@njit("boolean(int64, int64[::1])", cache=True, nogil=True)
def listed(token: int, ascending: Tokens) -> bool:
    """Whether a token is one of those ids."""
    if token < ascending[0] or token > ascending[-1]:
        return False
    return bool(np.any(ascending == token))


@njit(f"int64({ROWS}, int64, int64)", cache=True, nogil=True)
def run_end(documents: Tokens, row: int, start: int) -> int:
    """The column after the last one of the document that stands at a column."""
    end = start + 1
    while end < documents.shape[1] and documents[row, end] == documents[row, start]:
        end += 1
    return end


@njit(f"boolean({ROWS}, int64, int64, int64, int64[::1])", cache=True, nogil=True)
def plain(tokens: Tokens, row: int, start: int, end: int, ascending: Tokens) -> bool:
    """Whether no special token stands in these columns of a row."""
    column = start
    while column < end and not listed(tokens[row, column], ascending):
        column += 1
    return column == end


@njit(f"void({ROWS}, {ROWS}, int64, int64, int64, boolean)", cache=True, nogil=True)
def put(inputs: Tokens, labels: Tokens, row: int, column: int, token: int, learned: bool) -> None:
    """Write a token of a row's T + 1: an input at its column, a label (where it is learned) at the one before."""
    if column < inputs.shape[1]:
        inputs[row, column] = token
    if column > 0:
        labels[row, column - 1] = token if learned else IGNORE


@njit(f"void({ROWS}, int64, int64, int64, {ROWS}, {ROWS}, int64, boolean)", cache=True, nogil=True)
def move(
    tokens: Tokens, row: int, start: int, size: int, inputs: Tokens, labels: Tokens, column: int, learned: bool
) -> None:
    """Write `size` tokens of a row from column `start` on to where `column` begins; see `put`."""
    for offset in range(size):
        put(inputs, labels, row, column + offset, tokens[row, start + offset], learned)
