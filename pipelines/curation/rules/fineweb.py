"""FineWeb's own filters (Penedo et al. 2024, arXiv 2406.17557, §3.5).

Dropped: at most 12 % of lines end in terminal punctuation; at least 10 % of the characters are in repeated lines;
at least 67 % of lines have 30 characters or fewer. So the paper. datatrove's code has 0.01 for repeated lines,
compares strictly, and adds a fourth test, newlines per word, which has its threshold (0.3) from there.
White space at a line's end does not hide its terminal mark in ours.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from pipelines.curation.rules.base import Test, VariantRule


class FineWeb(VariantRule, frozen=True):
    """Running text rather than lists and menus. The paper's first three thresholds are themselves dropped."""

    rule: Literal["fineweb"] = "fineweb"
    max_unterminated: float | None = 0.12
    """Drop at or below (datatrove: below) this share of lines with terminal punctuation."""
    min_short_lines: float | None = 0.67
    """Drop at or above (datatrove: above) this share of short lines."""
    min_repeated_line_characters: float | None = 0.1
    """Drop at or above this share of characters in repeated lines (datatrove: above, and 0.01 unless it is set)."""
    max_newlines_per_word: float | None = 0.3

    @model_validator(mode="before")
    @classmethod
    def _published(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("variant") == "datatrove":
            return {"min_repeated_line_characters": 0.01, **values}
        return values

    def tests(self) -> list[Test]:
        """In the order of datatrove's code."""
        strict = self.variant == "datatrove"
        return [
            Test("terminal_lines", self.signal("terminal_lines"), "<" if strict else "<=", self.max_unterminated),
            Test("short_lines", self.signal("short_lines"), ">" if strict else ">=", self.min_short_lines),
            Test(
                "repeated_lines",
                self.signal("repeated_line_characters"),
                ">" if strict else ">=",
                self.min_repeated_line_characters,
            ),
            Test("newlines", self.signal("newlines_per_word"), ">", self.max_newlines_per_word),
        ]
