"""What a batch of documents says of whom: documents, mentions of groups, and words of attributes near them.

A *mention* of a group is one of its words or phrases (`groups.Group.mentions`); at each place the longest phrase
counts. Words are counted as `matching.Found.words` does. The *window* of a group in a document are the words at most
`window` words from a word of a mention of it, these words left out, each once however many mentions are near. A *hit*
is a word of an attribute's set that stands in the window. Counts are kept by document, so that their spread between
documents is known: Σ hits, Σ window words, and the sums of their squares and products (`statistics.Sums`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import strings
from pipelines.curation.safety.characters import fold
from pipelines.curation.safety.groups import Words
from pipelines.curation.safety.matching import ENTRY, PLACE, ROW, Phrases


class Label(NamedTuple):
    """What a phrase counts for: a group of an axis in a language, or (with the axis "") an attribute."""

    language: str
    axis: str
    name: str


@dataclass(frozen=True)
class Seen:
    """Counts of a batch of n documents; labels and attributes by their numbers in the `Gauge`."""

    language: NDArray[np.int64]
    """(n,) number of the document's language, -1 where there are no words for it."""
    words: NDArray[np.int64]
    """(n,)"""
    mentions: NDArray[np.int64]
    """(n, labels)"""
    sums: NDArray[np.float64]
    """(groups, attributes, 5) of `statistics.Sums` over the batch."""


class MentionCounter:
    """Counts by the words of several languages.

    Args:
        words: language -> its words.
        window: how many words before and after a mention are near it.
    """

    def __init__(self, words: Mapping[str, Words], window: int) -> None:
        self.languages = sorted(words)
        self.window = window
        self.groups = [Label(each, axis, name) for each in self.languages for axis, name, _ in words[each].groups()]
        self.attributes = [Label(each, "", name) for each in self.languages for name in words[each].attributes]
        self.labels = [*self.groups, *self.attributes]
        numbers = {label: number for number, label in enumerate(self.labels)}
        phrases: dict[tuple[int, str], list[int]] = {}
        for number, language in enumerate(self.languages):
            for axis, name, group in words[language].groups():
                for phrase in group.mentions:
                    _add(phrases, number, phrase, numbers[Label(language, axis, name)])
            for name, listed in words[language].attributes.items():
                for phrase in listed:
                    _add(phrases, number, phrase, numbers[Label(language, "", name)])
        self._phrases = Phrases([[p for n, p in phrases if n == number] for number in range(len(self.languages))])
        of_entries = [phrases[number, phrase] for number, phrase in self._phrases.entries]
        self._fan = np.array([len(labels) for labels in of_entries], np.int64)
        self._first = np.cumsum(self._fan) - self._fan
        self._flat = np.array([label for labels in of_entries for label in labels], np.int64)
        entries = strings(phrase for _, phrase in self._phrases.entries)
        self._length = self._phrases.find(entries, [-1] * len(entries)).words

    def count(self, texts: pa.LargeStringArray, languages: Sequence[str]) -> Seen:
        """Counts of documents in languages."""
        known = {language: number for number, language in enumerate(self.languages)}
        numbers = np.array([known.get(language, -1) for language in languages], np.int64)
        found = self._phrases.find(texts, numbers.tolist(), overlapping=True)
        entry = found.matches[:, ENTRY]
        which = np.repeat(np.arange(len(entry)), self._fan[entry])
        within = np.arange(len(which)) - np.repeat(np.cumsum(self._fan[entry]) - self._fan[entry], self._fan[entry])
        label = self._flat[self._first[entry[which]] + within]
        row = found.matches[which, ROW]
        shape = (len(texts), len(self.labels))
        mentions = np.bincount(row * shape[1] + label, minlength=shape[0] * shape[1]).reshape(shape)
        sums = np.zeros((len(self.groups), len(self.attributes), 5))
        if self.attributes and len(label):
            self._associate(row, label, found.matches[which, PLACE], self._length[entry[which]], found.words, sums)
        return Seen(numbers, found.words, mentions, sums)

    def _associate(
        self,
        row: NDArray[np.int64],
        label: NDArray[np.int64],
        place: NDArray[np.int64],
        length: NDArray[np.int64],
        words: NDArray[np.int64],
        sums: NDArray[np.float64],
    ) -> None:
        """Add the batch's sums. Documents lie one after the other on a line of words, too far apart to be near."""
        starts = np.cumsum(words + 2 * self.window + 2) - (words + 2 * self.window + 2)
        order = np.argsort(label, kind="stable")
        bounds = np.searchsorted(label[order], np.arange(len(self.labels) + 1))
        places: dict[int, NDArray[np.int64]] = {}
        for number in range(len(self.labels)):
            own = order[bounds[number] : bounds[number + 1]]
            spread = np.repeat(own, length[own])
            step = np.arange(len(spread)) - np.repeat(np.cumsum(length[own]) - length[own], length[own])
            places[number] = np.unique(starts[row[spread]] + place[spread] + step)
        for group, name in enumerate(self.groups):
            said = places[group]
            if not len(said):
                continue
            document = np.searchsorted(starts, said, side="right") - 1
            sizes = np.bincount(document, _window_words(said, document, starts, words, self.window), len(words))
            sizes -= np.bincount(document, minlength=len(words))
            for number, attribute in enumerate(self.attributes):
                if attribute.language == name.language:
                    near = _near(places[len(self.groups) + number], said, self.window)
                    hits = np.bincount(np.searchsorted(starts, near, side="right") - 1, minlength=len(words))
                    products = (hits, sizes, hits * hits, hits * sizes, sizes * sizes)
                    sums[group, number] += [float(each.sum()) for each in products]


def _add(phrases: dict[tuple[int, str], list[int]], language: int, phrase: str, label: int) -> None:
    labels = phrases.setdefault((language, fold(phrase)), [])
    if label not in labels:
        labels.append(label)


def _window_words(
    said: NDArray[np.int64],
    document: NDArray[np.int64],
    starts: NDArray[np.int64],
    words: NDArray[np.int64],
    window: int,
) -> NDArray[np.int64]:
    """Words that each mentioned word's window adds to those of the ones before it, itself included."""
    left = np.maximum(said - window, starts[document])
    right = np.minimum(said + window, starts[document] + words[document] - 1)
    before = np.concatenate([[-1], right[:-1]])
    return right - np.maximum(left, before + 1) + 1


def _near(places: NDArray[np.int64], said: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """The places at most `window` from, but not on, a mentioned word."""
    after = np.searchsorted(said, places)
    below = places - said[np.maximum(after - 1, 0)]
    above = said[np.minimum(after, len(said) - 1)] - places
    distance = np.minimum(np.where(after > 0, below, window + 1), np.where(after < len(said), above, window + 1))
    return places[(distance > 0) & (distance <= window)]


class Tally:
    """Counts over many batches: of all documents and of those that stay, by language and label."""

    def __init__(self, counter: MentionCounter) -> None:
        languages, labels = len(counter.languages), len(counter.labels)
        self.documents = np.zeros((languages, 2), np.int64)
        """(languages, 2): all, and those that stay."""
        self.words = np.zeros(languages, np.int64)
        self.mentions = np.zeros(labels, np.int64)
        self.mentioning = np.zeros((labels, 2), np.int64)
        """(labels, 2): documents with a mention, all and those that stay."""
        self.sums = np.zeros((len(counter.groups), len(counter.attributes), 5))

    def add(self, seen: Seen, stays: NDArray[np.bool_]) -> None:
        """One more batch; `stays` (n,) says which documents are kept later."""
        known = seen.language >= 0
        for column, which in enumerate((known, known & stays)):
            self.documents[:, column] += np.bincount(seen.language[which], minlength=len(self.documents))
            self.mentioning[:, column] += (seen.mentions[which] > 0).sum(axis=0)
        words = np.bincount(seen.language[known], seen.words[known], minlength=len(self.words))
        self.words += words.astype(np.int64)
        self.mentions += seen.mentions.sum(axis=0)
        self.sums += seen.sums

    def merge(self, other: dict[str, Any]) -> None:
        """Add what another tally's `to_json` gave."""
        for name, values in other.items():
            getattr(self, name).__iadd__(np.asarray(values, getattr(self, name).dtype))

    def to_json(self) -> dict[str, Any]:
        """The counts as lists."""
        return {name: values.tolist() for name, values in vars(self).items()}
