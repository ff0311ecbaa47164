"""Gopher's document filters (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1).

Quality: "between 50 and 100,000 words; mean word length 3 to 10 characters; symbol-to-word ratio at most 0.1 for
either the hash symbol or the ellipsis; less than 90 % of lines starting with a bullet point and less than 30 %
ending with an ellipsis; 80 % of words contain at least one alphabetic character; at least two of the, be, to, of,
and, that, have, with".

Repetition (table A1), the largest allowed:

    duplicate line / paragraph fraction            0.30 / 0.30
    duplicate line / paragraph character fraction  0.20 / 0.20
    top 2- / 3- / 4-gram character fraction        0.20 / 0.18 / 0.16
    duplicate 5- … 10-gram character fraction      0.15 / 0.14 / 0.13 / 0.12 / 0.11 / 0.10

How words, lines and n-grams are read: `pipelines.curation.signals`. Stop words are counted once each, and in the
document's language; a language without a list is not tested. All tests allow the threshold itself.
`variant: datatrove` measures both as datatrove 0.10 does.
"""

from __future__ import annotations

from typing import Literal

from pipelines.curation.rules.base import Test, VariantRule


class GopherQuality(VariantRule, frozen=True):
    """Prose of a reasonable length, in words, with ordinary lines."""

    rule: Literal["gopher_quality"] = "gopher_quality"
    min_words: int | None = 50
    max_words: int | None = 100_000
    min_mean_word_length: float | None = 3
    max_mean_word_length: float | None = 10
    max_hashes_per_word: float | None = 0.1
    max_ellipses_per_word: float | None = 0.1
    max_bullet_lines: float | None = 0.9
    max_ellipsis_lines: float | None = 0.3
    min_alphabetic_words: float | None = 0.8
    min_stop_words: int | None = 2

    def tests(self) -> list[Test]:
        """In the paper's order."""
        return [
            Test("too_few_words", self.signal("words"), "<", self.min_words),
            Test("too_many_words", self.signal("words"), ">", self.max_words),
            Test("short_words", self.signal("mean_word_length"), "<", self.min_mean_word_length),
            Test("long_words", self.signal("mean_word_length"), ">", self.max_mean_word_length),
            Test("hashes", self.signal("hashes_per_word"), ">", self.max_hashes_per_word),
            Test("ellipses", self.signal("ellipses_per_word"), ">", self.max_ellipses_per_word),
            Test("bullet_lines", self.signal("bullet_lines"), ">", self.max_bullet_lines),
            Test("ellipsis_lines", self.signal("ellipsis_lines"), ">", self.max_ellipsis_lines),
            Test("alphabetic_words", self.signal("alphabetic_words"), "<", self.min_alphabetic_words),
            Test("stop_words", self.signal("stop_words"), "<", self.min_stop_words),
        ]


class GopherRepetition(VariantRule, frozen=True):
    """Text that does not repeat itself."""

    rule: Literal["gopher_repetition"] = "gopher_repetition"
    max_duplicate_lines: float | None = 0.30
    max_duplicate_paragraphs: float | None = 0.30
    max_duplicate_line_characters: float | None = 0.20
    max_duplicate_paragraph_characters: float | None = 0.20
    max_top_2_gram: float | None = 0.20
    max_top_3_gram: float | None = 0.18
    max_top_4_gram: float | None = 0.16
    max_duplicate_5_grams: float | None = 0.15
    max_duplicate_6_grams: float | None = 0.14
    max_duplicate_7_grams: float | None = 0.13
    max_duplicate_8_grams: float | None = 0.12
    max_duplicate_9_grams: float | None = 0.11
    max_duplicate_10_grams: float | None = 0.10

    def tests(self) -> list[Test]:
        """In the table's order."""
        most = {
            "duplicate_lines": self.max_duplicate_lines,
            "duplicate_paragraphs": self.max_duplicate_paragraphs,
            "duplicate_line_characters": self.max_duplicate_line_characters,
            "duplicate_paragraph_characters": self.max_duplicate_paragraph_characters,
            "top_2_gram": self.max_top_2_gram,
            "top_3_gram": self.max_top_3_gram,
            "top_4_gram": self.max_top_4_gram,
            "duplicate_5_grams": self.max_duplicate_5_grams,
            "duplicate_6_grams": self.max_duplicate_6_grams,
            "duplicate_7_grams": self.max_duplicate_7_grams,
            "duplicate_8_grams": self.max_duplicate_8_grams,
            "duplicate_9_grams": self.max_duplicate_9_grams,
            "duplicate_10_grams": self.max_duplicate_10_grams,
        }
        return [Test(name, self.signal(name), ">", threshold) for name, threshold in most.items()]
