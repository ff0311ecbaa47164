"""RefinedWeb's line corrections (Penedo et al. 2023, arXiv 2306.01116, appendix G.2).

A line is removed when more than half of its characters are capitals, when it is only digits, when it is a counter
("3 likes"), or when it is one word. Calls to action ("items in cart", a "sign-in" at the beginning, a "read more..."
at the end) remove a line of at most ten words; the paper cuts the words alone. A document loses its place when its
removed lines held more than 5 % of its words.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from pipelines.buffers import utf8
from pipelines.curation import lines as line_tables
from pipelines.curation.lines import STAYS
from pipelines.curation.rules.base import KEPT, Batch, Rule, Verdicts

REASONS = ("capitals", "digits", "counter", "one_word", "call_to_action")
_COUNTER = re.compile(
    rb"\W*\d[\d,.]*[kmb]?\s+(?:likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads"
    rb"|views|followers)\W*",
    re.IGNORECASE,
)


class RefinedWebLines(Rule, frozen=True):
    """Lines of running text; pages that were mostly something else go."""

    rule: Literal["refinedweb_lines"] = "refinedweb_lines"
    max_uppercase: float | None = 0.5
    drop_digits: bool = True
    drop_counters: bool = True
    min_line_words: int | None = 2
    drop_calls_to_action: bool = True
    max_removed_words: float | None = 0.05

    def judge(self, batch: Batch) -> Verdicts:
        """The documents with their remaining lines, or that too many words were removed."""
        n, lines = len(batch), line_tables.table(batch.text)
        reason = np.full(len(lines), STAYS, np.int8)

        def drop(number: int, where: np.ndarray) -> None:
            reason[(reason == STAYS) & where & ~lines.blank] = number

        if self.max_uppercase is not None:
            drop(0, lines.uppers > self.max_uppercase * lines.characters)
        if self.drop_digits:
            drop(1, lines.decimals == lines.characters)
        if self.drop_counters:
            drop(2, self._counters(batch, lines))
        if self.min_line_words is not None:
            drop(3, lines.raw_words < self.min_line_words)
        if self.drop_calls_to_action:
            calls = lines.has("items in cart", "read more...", "sign-in")
            drop(4, calls & (lines.raw_words <= 10))
        total = np.bincount(lines.row, weights=lines.raw_words, minlength=n)
        removed = np.bincount(lines.row, weights=np.where(reason == STAYS, 0, lines.raw_words), minlength=n)
        share = removed / np.maximum(1, total)
        verdicts = Verdicts.keep_all(n)
        verdicts.reasons = ("removed_words",)
        if self.max_removed_words is not None:
            gone = share > self.max_removed_words
            verdicts.reason[gone] = 0
            verdicts.score, verdicts.threshold = share, np.full(n, self.max_removed_words)
        stays = verdicts.reason == KEPT
        verdicts.texts = line_tables.assemble(batch.text, lines, reason, cut_citations=False)
        verdicts.spans = line_tables.spans(batch.text, lines, reason, REASONS, False, stays)
        return verdicts

    @staticmethod
    def _counters(batch: Batch, lines: line_tables.Lines) -> np.ndarray:
        """Lines that are a number and what it counts; only short ones that begin with a digit are looked at."""
        _, data = utf8(batch.text)
        found = np.zeros(len(lines), bool)
        for line in np.flatnonzero((lines.first_digit == 1) & (lines.raw_words <= 3)):
            found[line] = _COUNTER.fullmatch(data[lines.begin[line] : lines.end[line]].tobytes()) is not None
        return found
