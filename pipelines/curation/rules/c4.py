"""C4's line and document filters (Raffel et al. 2020, JMLR 21/140, §2.2).

Bracketed citations are cut out of lines. A line is dropped for a word of more than 1000 characters, unless it ends
in a terminal punctuation mark (and not in "..."), with fewer than `min_line_words` words, for "javascript", or for a
policy notice. The document is dropped for "lorem ipsum" or a curly bracket in a line that got so far, and with fewer
than `min_sentences` sentences in what is left.

The paper's text says 3 words and 5 sentences; the published code (`variant: tfds`) 5 and 3. As in that code, "lorem
ipsum" and the bracket are looked for after the lines before them were dropped, so neither drops a page from inside a
line that goes anyway. Sentences are counted by end marks. Ours keeps one blank line between paragraphs, and knows the
end marks of other scripts too.

The other variants follow published code: lines end where `str.splitlines` ends them, blank ones go, an end mark
before white space and a citation does not count, and what follows a line's last end mark is a sentence too.
`variant: datatrove` also counts a line's words before citations are cut, and lets an apostrophe end a line.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from pipelines.curation import lines as line_tables
from pipelines.curation.lines import STAYS, Lines
from pipelines.curation.rules.base import KEPT, Batch, Rule, Verdicts

POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
REASONS = ("long_word", "no_terminal_punctuation", "few_words", "javascript", "policy")
END_MARKS = {"paper": '.?!"”»。！？」』।॥؟۔։', "tfds": '.?!"', "datatrove": ".?!\"'"}


class C4(Rule, frozen=True):
    """Whole sentences only; boilerplate lines go, and pages that are code or filler."""

    version: ClassVar[int] = 2
    rule: Literal["c4"] = "c4"
    variant: Literal["paper", "tfds", "datatrove"] = "paper"
    terminal_punctuation: bool = True
    max_word_characters: int | None = 1000
    min_line_words: int | None = 3
    min_sentences: int | None = 5
    drop_javascript_lines: bool = True
    drop_policy_lines: bool = True
    remove_citations: bool = True
    drop_lorem_ipsum: bool = True
    drop_curly_bracket: bool = True

    @model_validator(mode="before")
    @classmethod
    def _published(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("variant") == "tfds":
            return {"min_line_words": 5, "min_sentences": 3, **values}
        return values

    def judge(self, batch: Batch) -> Verdicts:
        """The documents with their remaining lines, or why they go."""
        ours = self.variant == "paper"
        n, lines = len(batch), line_tables.table(batch.text, every_break=not ours)
        reason, document = self._lines(lines, n)
        left = np.bincount(lines.row, weights=(reason == STAYS) & ~lines.blank, minlength=n)
        ends = lines.sentences if ours else lines.sentences + lines.tail
        sentences = np.bincount(lines.row, weights=np.where(reason == STAYS, ends, 0), minlength=n)
        verdicts = Verdicts.keep_all(n)
        verdicts.reasons = ("lorem_ipsum", "curly_bracket", "no_lines", "too_few_sentences")
        verdicts.score, verdicts.threshold = np.full(n, np.nan), np.full(n, np.nan)
        tests = [(2, left, 1)] + ([(3, sentences, self.min_sentences)] if self.min_sentences is not None else [])
        for number, score, threshold in reversed(tests):
            gone = score < threshold
            verdicts.reason[gone], verdicts.score[gone], verdicts.threshold[gone] = number, score[gone], threshold
        found = document != KEPT
        verdicts.reason[found] = document[found]
        verdicts.score[found] = verdicts.threshold[found] = np.nan
        verdicts.texts = line_tables.assemble(batch.text, lines, reason, self.remove_citations, paragraphs=ours)
        stays = verdicts.reason == KEPT
        verdicts.spans = line_tables.spans(batch.text, lines, reason, REASONS, self.remove_citations, stays)
        return verdicts

    def _lines(self, lines: Lines, n: int) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
        """Why each line goes, and which of the first two reasons drops each document."""
        words = lines.raw_words if self.variant == "datatrove" or not self.remove_citations else lines.words
        marks = np.array([ord(mark) for mark in END_MARKS[self.variant]])
        reason = np.full(len(lines), STAYS, np.int8)

        def drop(number: int, where: NDArray[np.bool_]) -> None:
            reason[(reason == STAYS) & where & ~lines.blank] = number

        if self.max_word_characters is not None:
            drop(0, lines.longest_word > self.max_word_characters)
        if self.terminal_punctuation:
            unended = ~np.isin(lines.last, marks) | (lines.dots >= 3)
            if self.variant != "paper" and self.remove_citations:
                unended |= lines.loose == 1
            drop(1, unended)
        if self.min_line_words is not None:
            drop(2, words < self.min_line_words)
        lorem = self._first(lines, lines.has("lorem ipsum") & (reason == STAYS) & self.drop_lorem_ipsum, n)
        if self.drop_javascript_lines:
            drop(3, lines.has("javascript"))
        bracket = self._first(lines, lines.has("{") & (reason == STAYS) & self.drop_curly_bracket, n)
        if self.drop_policy_lines:
            drop(4, lines.has(*POLICIES))
        document = np.full(n, KEPT, np.int16)
        document[bracket < len(lines)] = 1
        document[(lorem < len(lines)) & (lorem <= bracket)] = 0
        return reason, document

    @staticmethod
    def _first(lines: Lines, where: NDArray[np.bool_], n: int) -> NDArray[np.int64]:
        """(n,) the number of each document's first line for which something holds; else the number of lines."""
        first = np.full(n, len(lines))
        found = np.flatnonzero(where)
        np.minimum.at(first, lines.row[found], found)
        return first
