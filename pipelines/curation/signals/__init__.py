"""What is measured about texts, once, for rules to judge by.

`reference` defines the signals in plain Python; `kernel` computes them over the bytes of an Arrow array.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import strings
from pipelines.curation.signals import kernel
from pipelines.curation.signals.names import DATATROVE, GROUPS, TEXT, VERSION, VOCABULARY

__all__ = ["DATATROVE", "GROUPS", "TEXT", "VERSION", "VOCABULARY", "Meter"]


class Meter:
    """Measures batches of texts.

    Args:
        stop_words: language -> its stop words in lower case, none where there is no list; at most 64 count.
    """

    def __init__(self, stop_words: Callable[[str], Collection[str]]) -> None:
        self._stop_words = stop_words
        self._rows: dict[str, int] = {}
        self._table = np.zeros((0, kernel.MOST_STOP_WORDS), np.uint64)
        self._counts = np.zeros(0, np.int64)

    def measure_names(
        self, texts: pa.LargeStringArray, languages: Sequence[str], names: Collection[str]
    ) -> dict[str, NDArray[np.float64]]:
        """Signal name -> (n,) values: those asked for, and what comes with them.

        Raises KeyError with the name of a signal that there is not.
        """
        home = {name: group for group, members in GROUPS.items() for name in members}
        groups = {home[name] for name in names}
        return self.measure(
            texts, languages, [group for group in GROUPS if group in groups], not VOCABULARY.isdisjoint(names)
        )

    def measure(
        self,
        texts: pa.LargeStringArray,
        languages: Sequence[str],
        groups: Iterable[str] = ("text",),
        vocabulary: bool = True,
    ) -> dict[str, NDArray[np.float64]]:
        """Signal name -> (n,) values, for the groups asked for. A text's values depend on it and its language alone.

        `vocabulary` False leaves the signals of VOCABULARY out.
        """
        rows = np.fromiter((self._row(language) for language in languages), np.int32, len(texts))
        measured: dict[str, NDArray[np.float64]] = {}
        for group in groups:
            if group == "text":
                values = kernel.measure_batch(texts, rows, self._table, self._counts, vocabulary)
            else:
                # Compiled only where a rule wants it.
                from pipelines.curation.signals import datatrove

                values = datatrove.measure_batch(texts, languages, rows, self._table, self._counts)
            measured |= zip(GROUPS[group], values, strict=True)
        return measured if vocabulary else {name: measured[name] for name in measured if name not in VOCABULARY}

    def _row(self, language: str) -> int:
        if language not in self._rows:
            words = sorted(self._stop_words(language))[: kernel.MOST_STOP_WORDS]
            self._rows[language] = len(self._table) if words else -1
            if words:
                _, hashes = kernel.word_hashes(strings(words))
                row = np.zeros((1, kernel.MOST_STOP_WORDS), np.uint64)
                row[0, : len(hashes)] = hashes
                self._table = np.concatenate([self._table, row])
                self._counts = np.append(self._counts, len(hashes))
        return self._rows[language]
