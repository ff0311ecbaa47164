"""Training objectives: pure functions from a window of tokens to inputs and aligned labels.

Every objective is called with (tokens [T+1], documents [T+1], seed, sample_id) and answers (input_ids [T],
labels [T], documents [T]), all int64: the logits at t are to predict labels[t], and -100 is no target. The window is
tokens[1:]; tokens[0] comes before it. Document -1 is none: padding, and tokens that are there to be seen only.
Positions are not handed on: the network restarts them wherever the document changes. Chance comes from (seed, sample
id) alone, so a sample looks the same on any number of workers and after any resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IGNORE = -100
SPECIAL_TOKENS = 16
"""Ids below this are special in every groundwork tokenizer."""
NO_DOCUMENT = -1
"""The document of a position that belongs to none."""

END_OF_TEXT, PAD, MASK, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = range(6)

Tokens = NDArray[np.int64]
Sample = tuple[Tokens, Tokens, Tokens]


class Objective(Protocol):
    """What every objective is."""

    def __call__(self, tokens: NDArray, documents: NDArray, seed: int, sample_id: int) -> Sample:
        """(input_ids [T], labels [T], documents [T]) of tokens [T+1] and documents [T+1]."""

    def batch(self, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """The same of many samples at once: each [n, T] of tokens [n, T+1] and documents [n, T+1]."""


class _RowByRow:
    """An objective whose batch is its samples one by one."""

    def batch(self: Objective, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """See `Objective`."""
        rows = len(tokens), tokens.shape[1] - 1
        parts = np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(rows, np.int64)
        for row, sample_id in enumerate(sample_ids):
            for part, values in zip(parts, self(tokens[row], documents[row], seed, int(sample_id)), strict=True):
                part[row] = values
        return parts


@dataclass(frozen=True)
class Causal:
    """Predict the next token, within a document.

    An input belongs to the document of the token it predicts. So `<|endoftext|>` is the last label of the document
    that it ends and the first input of the one that follows: a document's first token is learned too, from nothing
    but the mark that generation and scoring start with.
    """

    def __call__(self, tokens: NDArray, documents: NDArray, seed: int, sample_id: int) -> Sample:
        """Inputs are tokens[:-1], labels tokens[1:], documents those of the labels."""
        inputs, labels, numbers = self.batch(tokens[None], documents[None], seed, [sample_id])
        return inputs[0], labels[0], numbers[0]

    def batch(self, tokens: NDArray, documents: NDArray, seed: int, sample_ids: Sequence[int]) -> Sample:
        """See `Objective`."""
        labels, numbers = np.array(tokens[:, 1:], np.int64, order="C"), np.array(documents[:, 1:], np.int64, order="C")
        labels[numbers == NO_DOCUMENT] = IGNORE
        return np.array(tokens[:, :-1], np.int64, order="C"), labels, numbers


@dataclass(frozen=True)
class Masked(_RowByRow):
    """Recover hidden tokens from both sides (Devlin et al. 2019; rate 0.3 as in Wettig et al. 2023 and ModernBERT).

    Args:
        vocabulary_size: random replacements are drawn from the ordinary ids below it.
        rate: the share of ordinary tokens that become targets; special tokens never do.
        masked: the share of targets shown as `<|mask|>`.
        replaced: the share shown as a random ordinary token; the rest is shown as it is.
    """

    vocabulary_size: int
    rate: float = 0.3
    masked: float = 0.8
    replaced: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1 or self.masked < 0 or self.replaced < 0 or self.masked + self.replaced > 1:
            raise ValueError(f"rates out of range: {self}")
        if self.vocabulary_size <= SPECIAL_TOKENS:
            raise ValueError(f"vocabulary_size {self.vocabulary_size} leaves no ordinary token above {SPECIAL_TOKENS}")

    def __call__(self, tokens: NDArray, documents: NDArray, seed: int, sample_id: int) -> Sample:
        """Inputs with hidden tokens, labels at the targets only."""
        inputs, numbers = np.array(tokens[1:], np.int64), np.array(documents[1:], np.int64)
        draw = generator(seed, sample_id)
        ordinary = (inputs >= SPECIAL_TOKENS) & (numbers != NO_DOCUMENT)
        target = (draw.random(len(inputs)) < self.rate) & ordinary
        labels = np.where(target, inputs, IGNORE)
        kind = draw.random(len(inputs))
        random_tokens = draw.integers(SPECIAL_TOKENS, self.vocabulary_size, len(inputs))
        inputs[target & (kind < self.masked)] = MASK
        replace = target & (kind >= self.masked) & (kind < self.masked + self.replaced)
        inputs[replace] = random_tokens[replace]
        return inputs, labels, numbers


@dataclass(frozen=True)
class FillInTheMiddle(_RowByRow):
    """Causal, with a share of the documents cut in three and the middle moved last (Bavarian et al. 2022).

    A chosen document (prefix, middle, suffix) becomes `<|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|>
    middle` (or, half of the time, suffix first: `<|fim_prefix|> <|fim_suffix|> suffix <|fim_middle|> prefix middle`).
    Cuts fall between tokens. The three marks take the place of the document's last three tokens before its end, so
    a window keeps its length.

    Args:
        rate: the share of documents rearranged.
    """

    rate: float = 0.5

    def __call__(self, tokens: NDArray, documents: NDArray, seed: int, sample_id: int) -> Sample:
        """As `Causal`, on the rearranged window."""
        moved = np.array(tokens, np.int64)
        draw = generator(seed, sample_id)
        edges = np.flatnonzero(np.diff(documents)) + 1
        for piece in np.split(np.arange(len(moved)), edges):
            if documents[piece[0]] == NO_DOCUMENT:
                continue
            chosen, suffix_first = draw.random(2) < (self.rate, 0.5)
            cuts = draw.random(2)
            ended = moved[piece[-1]] == END_OF_TEXT
            room = len(piece) - ended
            if chosen and room > 2 * 3:
                moved[piece[:room]] = _rearranged(moved[piece[: room - 3]], cuts, bool(suffix_first))
        return Causal()(moved, documents, seed, sample_id)


def _rearranged(text: Tokens, cuts: NDArray[np.float64], suffix_first: bool) -> Tokens:
    first, second = np.sort((cuts * (len(text) + 1)).astype(np.int64))
    prefix, middle, suffix = text[:first], text[first:second], text[second:]
    if suffix_first:
        parts: list[Tokens | list[int]] = [[FIM_PREFIX, FIM_SUFFIX], suffix, [FIM_MIDDLE], prefix, middle]
    else:
        parts = [[FIM_PREFIX], prefix, [FIM_SUFFIX], suffix, [FIM_MIDDLE], middle]
    return np.concatenate([np.asarray(part, np.int64) for part in parts])


def generator(seed: int, sample_id: int) -> np.random.Generator:
    """Chance for one sample."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, sample_id))))
