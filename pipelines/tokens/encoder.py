"""Texts to token ids: through the words met before where the tokenizer cuts words as ours do, else by the library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer

from pipelines.buffers import utf8
from pipelines.tokens import words
from pipelines.tokens.tokenizer import byte_alphabet, word_splitter

_SLOTS, _ENTRIES, _LETTERS = 1 << 19, 1 << 18, 1 << 22
_BATCH, _LONGEST_PIECE = 16, 1 << 18


class Encoded(NamedTuple):
    """Tokens of texts, without any special token.

    Attributes:
        ids: int32[T] one text after the other.
        lengths: int64[D] tokens of each text.
    """

    ids: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]


class Encoder(Protocol):
    """Turns texts into tokens."""

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        """Tokens of texts, which are valid UTF-8."""
        ...


def encoder_of(tokenizer: Tokenizer) -> Encoder:
    """The faster encoder that gives what the tokenizer gives."""
    form = json.loads(tokenizer.to_str())
    digits = _digit_group(tokenizer, form)
    return Library(tokenizer) if digits is None else Words(form["model"], digits)


class Library:
    """The library's `encode_batch_fast`, one thread, few texts at a time: its encodings are large."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        """See `Encoder`."""
        pieces: list[str] = []
        bounds = [0]
        for text in texts.to_pylist():
            pieces.extend(split_long(text, _LONGEST_PIECE))
            bounds.append(len(pieces))
        parts = [np.zeros(0, np.int32)]
        for start in range(0, len(pieces), _BATCH):
            batch = self._tokenizer.encode_batch_fast(pieces[start : start + _BATCH], add_special_tokens=False)
            parts += [np.array(encoding.ids, np.int32) for encoding in batch]
        firsts = np.cumsum([len(part) for part in parts])
        return Encoded(np.concatenate(parts), np.diff(firsts[bounds]))


class Words:
    """Our own kernel, with a table of words met before, which is emptied when it is full: about 60 MB at most.

    Args:
        model: what `tokenizer.json` says of the BPE.
        digits: see `tokenizer.word_pattern`.
    """

    def __init__(self, model: dict[str, Any], digits: int) -> None:
        self._digits = digits
        vocabulary: dict[str, int] = model["vocab"]
        alphabet = byte_alphabet()
        self._byte_ids = np.array([vocabulary[character] for character in alphabet], np.int32)
        merges = [(vocabulary[a], vocabulary[b], vocabulary[a + b]) for a, b in model["merges"]]
        self._merged = np.array([new for _, _, new in merges], np.int32)
        self._pairs, self._ranks = words.pair_table(np.array(merges, np.int64).reshape(-1, 3))
        self._used = np.zeros(2, np.int64)
        self._slot_key = np.zeros(_SLOTS, np.uint64)
        self._slot_entry = np.zeros(_SLOTS, np.int32)
        self._begins = np.zeros(_ENTRIES + 1, np.int64)
        self._letters = np.zeros(_LETTERS, np.uint8)
        self._firsts = np.zeros(_ENTRIES + 1, np.int64)
        self._ids = np.zeros(_LETTERS, np.int32)

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        """See `Encoder`."""
        offsets, data = utf8(texts)
        lengths = np.zeros(len(texts), np.int64)
        # As long as there could be need for; memory is used where it is written to.
        longest = max(words.LONGEST, int(np.diff(offsets).max(initial=0)))
        out = np.empty(int(offsets[-1] - offsets[0]), np.int32)
        count = words.encode_texts(
            offsets,
            data,
            words.classes(),
            self._digits,
            self._byte_ids,
            self._pairs,
            self._ranks,
            self._merged,
            self._used,
            self._slot_key,
            self._slot_entry,
            self._begins,
            self._letters,
            self._firsts,
            self._ids,
            np.empty((3, longest), np.int32),
            np.empty(3 * longest, np.int64),
            out,
            lengths,
        )
        return Encoded(out[:count], lengths)


def split_long(text: str, longest: int) -> Iterator[str]:
    """Pieces of at most `longest` characters that make up the text, cut after a line break where there is one.

    The library's time and memory grow faster than the text, so books and dumps are encoded in pieces.
    """
    start = 0
    while len(text) - start > longest:
        cut = text.rfind("\n", start + 1, start + longest)
        stop = cut + 1 if cut > 0 else start + longest
        yield text[start:stop]
        start = stop
    yield text[start:]


def _digit_group(tokenizer: Tokenizer, form: dict[str, Any]) -> int | None:
    """The digit group of a tokenizer that cuts words and merges them as `tokenizer.train` has it, else None."""
    model = form["model"]
    plain = model["type"] == "BPE" and form["normalizer"] is None and set(byte_alphabet()) <= set(model["vocab"])
    switches = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
    if (
        not plain
        or any(model[name] for name in switches)
        or any(not token["special"] for token in form["added_tokens"])
    ):
        return None
    for digits in (1, 2, 3):
        ours = Tokenizer(tokenizer.model)
        ours.pre_tokenizer = word_splitter(digits)
        if json.loads(ours.to_str())["pre_tokenizer"] == form["pre_tokenizer"]:
            return digits
    return None
