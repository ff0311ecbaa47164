"""Filters for program text: data, minified and generated files are not what people wrote.

`code` is StarCoder's (Li et al. 2023, arXiv 2305.06161, §3.1), whose thresholds are those of Chen et al. 2021:
dropped are a mean line length above 100 characters, a line above 1000, less than 25 % alphanumeric characters, and an
XML declaration in the first 100 characters.

`code_redpajama` is RedPajama's GitHub filter (Together 2023; Weber et al. 2024, arXiv 2411.12372): mean line length
above 100, a line above 1000, less than 25 % alphanumeric characters, fewer than 1.5 alphabetic characters a token;
tokens there are a tokenizer's, here words between white space.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.curation.rules.base import KEPT, Batch, Test, ThresholdRule, Verdicts

XML_HEAD_CHARACTERS = 100


class Code(ThresholdRule, frozen=True):
    """Programs that people wrote."""

    rule: Literal["code"] = "code"
    min_characters: int | None = None
    max_mean_line_length: float | None = 100
    max_line_length: int | None = 1000
    min_alphanumeric_characters: float | None = 0.25
    min_alphabetic_characters: float | None = None
    drop_xml: bool = True

    def tests(self) -> list[Test]:
        """Lengths, then what the characters are."""
        return [
            Test("too_short", "characters", "<", self.min_characters),
            Test("mean_line_length", "mean_line_length", ">", self.max_mean_line_length),
            Test("longest_line", "longest_line", ">", self.max_line_length),
            Test("alphanumeric", "alphanumeric_characters", "<", self.min_alphanumeric_characters),
            Test("alphabetic", "alphabetic_characters", "<", self.min_alphabetic_characters),
        ]

    def judge(self, batch: Batch) -> Verdicts:
        """The first test each document fails, the XML declaration last."""
        verdicts = super().judge(batch)
        if self.drop_xml:
            head = pc.utf8_slice_codeunits(batch.text, 0, XML_HEAD_CHARACTERS)
            xml = np.asarray(pc.match_substring(head, "<?xml version=").cast(pa.uint8())).astype(bool)
            verdicts.reason[xml & (verdicts.reason == KEPT)] = len(verdicts.reasons)
            verdicts.reasons = [*verdicts.reasons, "xml"]
        return verdicts


class CodeRedPajama(ThresholdRule, frozen=True):
    """RedPajama's reading of the same."""

    rule: Literal["code_redpajama"] = "code_redpajama"
    max_mean_line_length: float | None = 100
    max_line_length: int | None = 1000
    min_alphanumeric_characters: float | None = 0.25
    min_alphabetic_characters_per_word: float | None = 1.5

    def tests(self) -> list[Test]:
        """The three that are columns."""
        return [
            Test("mean_line_length", "mean_line_length", ">", self.max_mean_line_length),
            Test("longest_line", "longest_line", ">", self.max_line_length),
            Test("alphanumeric", "alphanumeric_characters", "<", self.min_alphanumeric_characters),
        ]

    def needs(self) -> frozenset[str]:
        """Also what alphabetic characters per word are made of."""
        return super().needs() | {"alphabetic_characters", "characters", "words"}

    def judge(self, batch: Batch) -> Verdicts:
        """The first test each document fails; alphabetic characters per word last."""
        verdicts = super().judge(batch)
        if self.min_alphabetic_characters_per_word is not None:
            signals = batch.signals
            letters = signals["alphabetic_characters"] * signals["characters"]
            share = letters / np.maximum(1, signals["words"])
            few = (share < self.min_alphabetic_characters_per_word) & (verdicts.reason == KEPT)
            assert verdicts.score is not None
            assert verdicts.threshold is not None
            verdicts.reason[few], verdicts.score[few] = len(verdicts.reasons), share[few]
            verdicts.threshold[few] = self.min_alphabetic_characters_per_word
            verdicts.reasons = [*verdicts.reasons, "alphabetic_per_word"]
        return verdicts
