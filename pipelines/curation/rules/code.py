"""Filters for program text (Li et al. 2023, StarCoder, arXiv 2305.06161, §3; thresholds as in Chen et al. 2021).

Dropped: mean line length above 100 characters, a line above 1000, less than 25 % alphanumeric characters: data,
minified or generated files rather than programs.
"""

from __future__ import annotations

from typing import Literal

from pipelines.curation.rules.base import Test, ThresholdRule


class Code(ThresholdRule, frozen=True):
    """Programs that people wrote."""

    rule: Literal["code"] = "code"
    min_characters: int | None = None
    max_mean_line_length: float | None = 100
    max_line_length: int | None = 1000
    min_alphanumeric_characters: float | None = 0.25

    def tests(self) -> list[Test]:
        """Lengths, then what the characters are."""
        return [
            Test("too_short", "characters", "<", self.min_characters),
            Test("mean_line_length", "mean_line_length", ">", self.max_mean_line_length),
            Test("longest_line", "longest_line", ">", self.max_line_length),
            Test("alphanumeric", "alphanumeric_characters", "<", self.min_alphanumeric_characters),
        ]
