"""Examples packed into windows: several a window, each its own document, the loss on the answers only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.finetuning.examples import Example, ExampleSettings, Split, read_examples
from models.finetuning.template import ChatEncoder

IGNORE = -100
_OPEN_WINDOWS = 64


class EmptyError(ValueError):
    """No example is left to learn from."""


@dataclass(frozen=True)
class Encoded:
    """One example's tokens [n] and which of them are learned [n]."""

    place: str
    ids: NDArray[np.int64]
    learned: NDArray[np.bool_]

    @property
    def room(self) -> int:
        """Positions it takes in a window: the last token is only ever a label."""
        return len(self.ids) - 1


class SupervisedDataset:
    """The training loop's `Dataset` over examples.

    Windows are packed once, from a shuffled order (best fit among 64 open windows); each pass over the data takes
    the windows in a new order. Attention never crosses examples, so it does not matter which share a window.

    Args:
        examples: what is to be learned.
        encoder: the template on a tokenizer.
        sequence_length: positions a window.
        seed: of the packing and the orders.
        drop_too_long: leave out examples that do not fit (`dropped` counts them) instead of refusing.

    Raises:
        ValueError: an example does not fit or has nothing to learn, with its place; or there is none at all.
    """

    def __init__(
        self,
        examples: Iterable[Example],
        encoder: ChatEncoder,
        sequence_length: int,
        seed: int,
        drop_too_long: bool = False,
    ) -> None:
        self.sequence_length, self.seed = sequence_length, seed
        self._pad = _pad_id(encoder.tokenizer)
        self._examples: list[Encoded] = []
        self.dropped = 0
        for example in examples:
            encoded = _encode(example, encoder)
            if encoded.room <= sequence_length:
                self._examples.append(encoded)
            elif drop_too_long:
                self.dropped += 1
            else:
                raise ValueError(
                    f"{example.place}: takes {encoded.room} positions, a window has {sequence_length}; "
                    "lengthen sequence_length or set drop_too_long"
                )
        if not self._examples:
            raise EmptyError("there is no example to learn from")
        order = np.random.default_rng((seed, 0)).permutation(len(self._examples)).tolist()
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._windows = _packed([self._examples[i].room for i in order], order, sequence_length)

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def examples(self) -> int:
        """Number of examples a pass holds."""
        return len(self._examples)

    @property
    def learned_tokens(self) -> int:
        """Targets a pass holds."""
        return sum(int(each.learned[1:].sum()) for each in self._examples)

    @property
    def fill(self) -> float:
        """The share of positions that are not padding."""
        return sum(each.room for each in self._examples) / (len(self) * self.sequence_length)

    def batch(self, indices: Sequence[int]) -> dict[str, NDArray[np.int64]]:
        """`input_ids`, `labels` (aligned with the logits, -100 = not learned) and `documents`, each int64 [n, T]."""
        shape = (len(indices), self.sequence_length)
        out = {
            "input_ids": np.full(shape, self._pad, np.int64),
            "labels": np.full(shape, IGNORE, np.int64),
            "documents": np.zeros(shape, np.int64),
        }
        for row, index in enumerate(indices):
            start = 0
            members = self._windows[self._window(int(index))]
            for number, member in enumerate(members):
                encoded = self._examples[member]
                place = slice(start, start + encoded.room)
                out["input_ids"][row, place] = encoded.ids[:-1]
                out["labels"][row, place] = np.where(encoded.learned[1:], encoded.ids[1:], IGNORE)
                out["documents"][row, place] = number
                start += encoded.room
            out["documents"][row, start:] = len(members)
        return out

    def _window(self, index: int) -> int:
        epoch, position = divmod(index, len(self._windows))
        if epoch not in self._orders:
            # Training walks on from pass to pass; two kept orders are enough at their seam.
            while len(self._orders) > 1:
                self._orders.pop(next(iter(self._orders)))
            self._orders[epoch] = np.random.default_rng((self.seed, 1 + epoch)).permutation(len(self._windows))
        return int(self._orders[epoch][position])


def load_dataset(
    location: str,
    split: Split,
    examples: ExampleSettings,
    tokenizer_json: str,
    sequence_length: int,
    seed: int,
    drop_too_long: bool = False,
) -> SupervisedDataset:
    """A file's examples of one side of the split, packed; every argument pickles, so that workers can call it.

    Args:
        location: JSON lines.
        split: train or validation.
        examples: what an example is.
        tokenizer_json: the text of the tokenizer's file.
        sequence_length: positions a window.
        seed: of the packing and the orders.
        drop_too_long: see `SupervisedDataset`.

    Raises:
        ValueError: as `read_examples` and `SupervisedDataset`.
    """
    from tokenizers import Tokenizer

    encoder = ChatEncoder(Tokenizer.from_str(tokenizer_json))
    try:
        rows = read_examples(location, examples, split)
        return SupervisedDataset(rows, encoder, sequence_length, seed, drop_too_long)
    except EmptyError as error:
        raise EmptyError(f"{location}: {split}: {error}") from None


def _encode(example: Example, encoder: ChatEncoder) -> Encoded:
    try:
        ids, learned = encoder.encode(example.messages)
    except ValueError as error:
        raise ValueError(f"{example.place}: {error}") from None
    return Encoded(example.place, ids, learned)


def _packed(sizes: Sequence[int], names: Sequence[int], capacity: int) -> list[list[int]]:
    """Best fit: each goes to the open window it fills most; a window closes when newer ones push it out."""
    windows: list[list[int]] = []
    open_windows: dict[int, int] = {}
    for size, name in zip(sizes, names, strict=True):
        fitting = [(left, window) for window, left in open_windows.items() if left >= size]
        if fitting:
            left, window = min(fitting)
        else:
            window, left = len(windows), capacity
            windows.append([])
            if len(open_windows) == _OPEN_WINDOWS:
                del open_windows[min(open_windows, key=lambda w: open_windows[w])]
        windows[window].append(name)
        open_windows[window] = left - size
    return windows


def _pad_id(tokenizer: Any) -> int:
    pad = tokenizer.token_to_id("<|pad|>")
    return 0 if pad is None else int(pad)
