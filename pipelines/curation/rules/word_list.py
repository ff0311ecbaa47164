"""Documents with listed words, such as LDNOOBW's lists of obscene words by language.

C4 (Raffel et al. 2020, JMLR 21/140, §2.2) removed every page with any word of LDNOOBW's list of its language, found by
`(?:\\W|^)(w1|w2)(?:\\W|$)` in the lower-cased text: that is `max_words: 0`, the default. What a match is here says
`pipelines.curation.safety.matching`. Dodge et al. 2021 (arXiv 2104.08758, §5) showed what such a list removes: text
about gay and lesbian people, and text in African American English, far more often than other text. `jobs.audit` prints
that for a list of yours; `max_share` forgives a long document a word.

A list is UTF-8 text with one word or phrase a line; lines that begin with "#" are comments. None ships with groundwork.
Nothing is decided at random: datatrove's `keep_fraction` draws from a generator of each process, so that its result
depends on how documents are cut into tasks.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from pipelines import storage
from pipelines.curation.rules.base import SPAN_SCHEMA, Batch, Rule, Verdicts
from pipelines.curation.safety.matching import BEGIN, END, ENTRY, ROW, Found, Phrases
from pipelines.storage import Location

REASONS = ("listed_words", "listed_share")
LONGEST_ENTRY = 100
SHOWN = 5


class WordList(Rule, frozen=True):
    """Documents with too many words of their language's list; languages without a list stay."""

    rule: Literal["word_list"] = "word_list"
    lists: dict[str, Location] | Location = Field(
        description="language (ISO 639-1) -> its file, or a directory with a file LANGUAGE.txt for each"
    )
    action: Literal["drop", "count"] = Field(
        default="drop", description="count: keep every document, and leave a row in spans/ for each match"
    )
    max_words: int | None = Field(
        default=0, ge=0, description="drop documents with more matches (C4: 0); with max_share alone, no limit"
    )
    max_share: float | None = Field(
        default=None, ge=0, le=1, description="drop documents in which listed words are a larger share of the words"
    )

    @model_validator(mode="before")
    @classmethod
    def _share_alone(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("max_share") is not None:
            return {"max_words": None, **values}
        return values

    @field_validator("lists")
    @classmethod
    def _some(cls, lists: dict[str, str] | str) -> dict[str, str] | str:
        if not lists:
            raise ValueError("expected a file for each language, or a directory")
        return lists

    @model_validator(mode="after")
    def _decides(self) -> WordList:
        if self.action == "drop" and self.max_words is None and self.max_share is None:
            raise ValueError("action: drop needs max_words or max_share")
        return self

    def files(self) -> list[str]:
        """The lists."""
        return sorted(set(self._places.values()))

    def check(self) -> None:
        """Raises ValueError, naming file and line, where one is no list of words."""
        for location in self.files():
            read(location)

    def needs(self) -> frozenset[str]:
        """Words of a document, where a share is asked for."""
        return frozenset({"words"} if self.action == "drop" and self.max_share is not None else ())

    def judge(self, batch: Batch) -> Verdicts:
        """Why documents go, with the words found most in `detail`; or a span for each match."""
        numbers = {language: number for number, language in enumerate(self._lists)}
        found = self._phrases.find(batch.text, [numbers.get(language, -1) for language in batch.language])
        return self._counted(len(batch), found) if self.action == "count" else self._dropped(batch, found)

    def _dropped(self, batch: Batch, found: Found) -> Verdicts:
        n, rows, entries = len(batch), found.matches[:, ROW], found.matches[:, ENTRY]
        verdicts = Verdicts.keep_all(n)
        verdicts.reasons = REASONS
        verdicts.score, verdicts.threshold = np.full(n, np.nan), np.full(n, np.nan)
        matches = np.bincount(rows, minlength=n)
        tests: list[tuple[int, NDArray[np.float64], float | None]] = [(0, matches.astype(float), self.max_words)]
        if self.max_share is not None:
            lengths = np.array([len(phrase.split()) for _, phrase in self._phrases.entries])
            listed = np.bincount(rows, weights=lengths[entries], minlength=n)
            tests.append((1, listed / np.maximum(1.0, batch.signals["words"]), self.max_share))
        for number, score, threshold in reversed(tests):
            if threshold is None:
                continue
            gone = score > threshold
            verdicts.reason[gone], verdicts.score[gone], verdicts.threshold[gone] = number, score[gone], threshold
        names: dict[int, Counter[str]] = defaultdict(Counter)
        for row, entry in zip(rows.tolist(), entries.tolist(), strict=True):
            if verdicts.reason[row] >= 0:
                names[row][self._phrases.entries[entry][1]] += 1
        verdicts.detail = {row: ", ".join(name for name, _ in count.most_common(SHOWN)) for row, count in names.items()}
        return verdicts

    def _counted(self, n: int, found: Found) -> Verdicts:
        verdicts = Verdicts.keep_all(n)
        begin, end = found.matches[:, BEGIN], found.matches[:, END]
        names = [self._phrases.entries[entry][1] for entry in found.matches[:, ENTRY].tolist()]
        columns = [found.matches[:, ROW], ["counted_not_cut"] * len(names), begin, end - begin, names]
        verdicts.spans = pa.table(
            [pa.array(column, field.type) for column, field in zip(columns, SPAN_SCHEMA, strict=True)],
            schema=SPAN_SCHEMA,
        )
        return verdicts

    @cached_property
    def _lists(self) -> Mapping[str, list[str]]:
        """Language -> its words."""
        return {language: read(location) for language, location in sorted(self._places.items())}

    @property
    def _places(self) -> Mapping[str, str]:
        return self.lists if isinstance(self.lists, dict) else _directory(self.lists)

    @cached_property
    def _phrases(self) -> Phrases:
        return Phrases(list(self._lists.values()))


def _directory(location: str) -> dict[str, str]:
    if not storage.exists(location):
        raise FileNotFoundError(f"{location}: no such directory of word lists")
    files = [file for file in storage.expand(location) if file.endswith(".txt")]
    if not files:
        raise ValueError(f"{location}: expected word lists LANGUAGE.txt, found none")
    return {file.rsplit("/", 1)[-1].removesuffix(".txt"): file for file in files}


def read(location: str) -> list[str]:
    """The words and phrases of a list.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: naming the file and the line that is no word, or the file without any.
    """
    words = []
    for number, line in enumerate(storage.read_bytes(location).split(b"\n"), start=1):
        try:
            word = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{location}:{number}: not UTF-8 ({error.reason})") from None
        if not word or word.startswith("#"):
            continue
        if problem := _problem(word):
            raise ValueError(f"{location}:{number}: expected a word or a phrase, found {problem}: {word[:40]!r}")
        words.append(word)
    if not words:
        raise ValueError(f"{location}: a word list without words")
    return words


def _problem(word: str) -> str | None:
    if len(word) > LONGEST_ENTRY:
        return f"{len(word)} characters"
    if any(unicodedata.category(character) == "Cc" for character in word):
        return "a control character"
    # Emoji are listed too; a lone comma or quote is a file of another kind.
    if all(character.isascii() and not character.isalnum() for character in word):
        return "punctuation alone"
    if word.startswith(('"', "{", "<")) or word.endswith(('",', ";")):
        return "what looks like a file of another kind"
    return None
