"""Filters for program text (Li et al. 2023, StarCoder, arXiv 2305.06161, §3; thresholds as in Chen et al. 2021).

Dropped: mean line length above 100 characters, a line above 1000, less than 25 % alphanumeric characters: data,
minified or generated files rather than programs.
"""

from __future__ import annotations

from typing import Literal

from pipelines.curation.documents import Rejection
from pipelines.curation.rules.base import Rule
from pipelines.curation.signals import Signals


class Code(Rule, frozen=True):
    """Programs that people wrote."""

    rule: Literal["code"] = "code"
    min_characters: int | None = None
    max_mean_line_length: float | None = 100
    max_line_length: int | None = 1000
    min_alphanumeric_characters: float | None = 0.25

    def judge(self, text: str, language: str, signals: Signals) -> Rejection | None:
        """The first test that fails."""
        return (
            self.below("too_short", signals.characters, self.min_characters)
            or self.above("mean_line_length", signals.mean_line_length, self.max_mean_line_length)
            or self.above("longest_line", signals.longest_line, self.max_line_length)
            or self.below("alphanumeric", signals.alphanumeric_characters, self.min_alphanumeric_characters)
        )
