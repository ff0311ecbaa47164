"""The safety filter of generation: prompts are checked, listed words are never completed, outputs are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from models.evaluation.safety import lexicon
from models.evaluation.safety.lexicon import Lexicon


class FilterSettings(BaseModel, extra="forbid", frozen=True):
    """What is blocked."""

    enabled: bool = Field(default=True, description="check prompts and outputs, ban words while generating")
    threshold: float = Field(default=0.5, gt=0, le=1, description="severity from which a text or word is blocked")
    lexicon: str | None = Field(default=None, description="a word list (JSON lines) instead of the one that ships")


@dataclass(frozen=True)
class Verdict:
    """Whether a text is withheld, why, and its score (None: it could not be scored, which is not clean)."""

    blocked: bool
    reason: str
    toxicity: float | None


class SafetyFilter:
    """Decides by a word list.

    Args:
        settings: thresholds and the list.
    """

    def __init__(self, settings: FilterSettings) -> None:
        self.settings = settings
        self.lexicon: Lexicon = lexicon.read(settings.lexicon) if settings.lexicon else lexicon.default()

    def check(self, text: str, what: str) -> Verdict:
        """The verdict on a prompt or an output; `what` names it in the reason."""
        score = self.lexicon.score(text)
        if not self.settings.enabled or score.value is None or score.value < self.settings.threshold:
            return Verdict(False, "" if score.value is not None else f"{what}: nothing to score", score.value)
        return Verdict(True, f"{what}: {len(score.found)} listed word(s), worst severity {score.value:g}", score.value)

    def banned(self, tokenizer: Any) -> tuple[tuple[int, ...], ...]:
        """Token sequences of the listed words, at a line's start and after a space, as written and capitalised.

        A model can still spell a word in other tokens; `check` sees that.
        """
        if not self.settings.enabled:
            return ()
        forms = {
            form
            for word in self.lexicon.bannable(self.settings.threshold)
            for form in (word, f" {word}", word.capitalize(), f" {word.capitalize()}")
        }
        encoded = (tokenizer.encode(form, add_special_tokens=False) for form in sorted(forms))
        return tuple(sorted({tuple(int(t) for t in ids) for ids in encoded if ids}))
