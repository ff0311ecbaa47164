"""Shares of kinds of characters: a sieve for tables and noise; and length, where words are not set apart.

At most 15 % digits is NeMo Curator's default. Its 25 % of white space would drop Korean prose, and half the characters
being letters or digits Hindi and Burmese, whose vowel signs are neither: ours are looser, so that the Universal
Declaration of Human Rights passes in every language.
"""

from __future__ import annotations

from typing import Literal

from pipelines.curation.rules.base import Test, ThresholdRule


class Characters(ThresholdRule, frozen=True):
    """Text is mostly letters."""

    rule: Literal["characters"] = "characters"
    min_characters: int | None = None
    min_alphanumeric: float | None = 0.35
    max_digits: float | None = 0.15
    max_spaces: float | None = 0.35
    max_uppercase: float | None = None

    def tests(self) -> list[Test]:
        """Shares are over the characters of the text."""
        return [
            Test("too_short", "characters", "<", self.min_characters),
            Test("alphanumeric", "alphanumeric_characters", "<", self.min_alphanumeric),
            Test("digits", "digit_characters", ">", self.max_digits),
            Test("spaces", "space_characters", ">", self.max_spaces),
            Test("uppercase", "uppercase_characters", ">", self.max_uppercase),
        ]
