"""A document as a classifier reads it: one line of words. The same for training, for assessment and for scoring."""

from __future__ import annotations

from pydantic import BaseModel, Field

LABEL = "__label__"
RESERVED = (LABEL, "</s>")
"""Words that mean something to fastText: with the first a text would name its own class, the second ends a line."""


class TextSettings(BaseModel, extra="forbid", frozen=True):
    """What becomes of a text before fastText splits it at its spaces."""

    lower_case: bool = Field(default=True, description="case does not count")
    characters: int | None = Field(
        default=5000, ge=1, description="only so much of a text's beginning is read; none: all of it"
    )

    def line(self, text: str) -> str:
        """The beginning of a text, in lower case, without fastText's own words, white space as single spaces."""
        if self.characters is not None:
            text = text[: self.characters]
        if self.lower_case:
            text = text.lower()
        for word in RESERVED:
            if word in text:
                text = text.replace(word, " ")
        return " ".join(text.split())
