"""FineWeb's own filters (Penedo et al. 2024, arXiv 2406.17557, §3.5).

Dropped: at most 12 % of lines end in terminal punctuation; at least 10 % of the characters are in repeated lines;
at least 67 % of lines have 30 characters or fewer. So the paper; datatrove's code has 0.01 for repeated lines,
compares strictly, and adds a fourth test, newlines per word, which has its threshold (0.3) from there.
White space at a line's end does not hide its terminal mark here.
"""

from __future__ import annotations

from typing import Literal

from pipelines.curation.documents import Rejection
from pipelines.curation.rules.base import Rule
from pipelines.curation.signals import Signals


class FineWeb(Rule, frozen=True):
    """Running text rather than lists and menus. The first three thresholds are themselves dropped."""

    rule: Literal["fineweb"] = "fineweb"
    max_unterminated: float | None = 0.12
    """Drop at or below this share of lines with terminal punctuation."""
    min_short_lines: float | None = 0.67
    """Drop at or above this share of short lines."""
    min_repeated_line_characters: float | None = 0.1
    """Drop at or above this share of characters in repeated lines."""
    max_newlines_per_word: float | None = 0.3

    def judge(self, text: str, language: str, signals: Signals) -> Rejection | None:
        """The first test that fails."""
        if self.max_unterminated is not None and signals.terminal_lines <= self.max_unterminated:
            return Rejection(self.rule, "terminal_lines", signals.terminal_lines, self.max_unterminated)
        if self.min_short_lines is not None and signals.short_lines >= self.min_short_lines:
            return Rejection(self.rule, "short_lines", signals.short_lines, self.min_short_lines)
        repeated, limit = signals.repeated_line_characters, self.min_repeated_line_characters
        if limit is not None and repeated >= limit:
            return Rejection(self.rule, "repeated_lines", repeated, limit)
        return self.above("newlines", signals.newlines_per_word, self.max_newlines_per_word)
