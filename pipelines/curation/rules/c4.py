"""C4's line and document filters (Raffel et al. 2020, JMLR 21/140, §2.2).

Lines, in this order: dropped for a word of more than 1000 characters; bracketed citations are cut out of them;
dropped unless they end in a terminal punctuation mark (and not in "..."), with fewer than `min_line_words` words,
for "javascript", or for a policy notice. The document is dropped for "lorem ipsum" or a curly bracket in a line
that got so far, and with fewer than `min_sentences` sentences in what is left.

The paper's text says 3 words and 5 sentences; the published code (tfds) 5 and 3: both are settings. Sentences are
counted by their end marks. As in that code, "lorem ipsum" and the bracket are looked for after the lines before
them were dropped, so neither drops a page from inside a line that goes anyway.
"""

from __future__ import annotations

import re
from typing import Literal

from pipelines.curation.documents import Rejection
from pipelines.curation.rules.base import Edit, Rule
from pipelines.curation.signals import Signals

_CITATIONS = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s|$)")
_END_MARKS = (".", "?", "!", '"', "”", "»")
_POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


class C4(Rule, frozen=True):
    """Whole sentences only; boilerplate lines go, and pages that are code or filler."""

    rule: Literal["c4"] = "c4"
    terminal_punctuation: bool = True
    max_word_characters: int | None = 1000
    min_line_words: int | None = 3
    min_sentences: int | None = 5
    drop_javascript_lines: bool = True
    drop_policy_lines: bool = True
    remove_citations: bool = True
    drop_lorem_ipsum: bool = True
    drop_curly_bracket: bool = True

    def judge(self, text: str, language: str, signals: Signals) -> Rejection | Edit | None:
        """The document with its remaining lines, or why it goes."""
        kept: list[str] = []
        for line in text.split("\n"):
            line = line.strip()
            lowered = line.lower()
            if self.remove_citations and "[" in line:
                line = _CITATIONS.sub("", line)
            if self._drops(line):
                continue
            if self.drop_lorem_ipsum and "lorem ipsum" in lowered:
                return Rejection(self.rule, "lorem_ipsum")
            if self.drop_javascript_lines and "javascript" in lowered:
                continue
            if self.drop_curly_bracket and "{" in line:
                return Rejection(self.rule, "curly_bracket")
            if self.drop_policy_lines and any(policy in lowered for policy in _POLICIES):
                continue
            kept.append(line)
        if not any(kept):
            return Rejection(self.rule, "no_lines", 0.0, 1.0)
        edited = _unwrapped(kept)
        if self.min_sentences is not None:
            sentences = len(_SENTENCE_END.findall(edited))
            if rejection := self.below("too_few_sentences", float(sentences), self.min_sentences):
                return rejection
        return Edit(edited) if edited != text else None

    def _drops(self, line: str) -> bool:
        words = line.split()
        if not words:
            # Blank lines hold paragraphs apart and are no lines of text.
            return False
        if self.max_word_characters is not None and max(map(len, words)) > self.max_word_characters:
            return True
        if self.terminal_punctuation and (not line.endswith(_END_MARKS) or line.endswith("...")):
            return True
        return self.min_line_words is not None and len(words) < self.min_line_words


def _unwrapped(lines: list[str]) -> str:
    """The lines joined, with at most one blank line between two, and none at the ends."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
