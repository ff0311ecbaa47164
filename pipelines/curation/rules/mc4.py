"""mC4's length filter (Xue et al. 2021, arXiv 2010.11934, §3.1): at least three lines of 200 or more characters."""

from __future__ import annotations

from typing import Literal

from pipelines.curation.rules.base import Test, ThresholdRule


class MC4(ThresholdRule, frozen=True):
    """Pages with some running text, in languages whose sentences C4's punctuation does not end."""

    rule: Literal["mc4"] = "mc4"
    min_long_lines: int | None = 3

    def tests(self) -> list[Test]:
        """One test."""
        return [Test("too_few_long_lines", "long_lines", "<", self.min_long_lines)]
