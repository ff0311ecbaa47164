"""What a rule is: settings (its thresholds), a citation, and a judgement of one document by its signals."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel

from pipelines.curation.documents import Rejection
from pipelines.curation.signals import Signals


@dataclass(slots=True, frozen=True)
class Edit:
    """The document stays with this text; later rules see signals of the new text."""

    text: str


class Rule(BaseModel, extra="forbid", frozen=True):
    """A rule. A subclass adds `rule: Literal["its name"]`, thresholds as fields with the paper's defaults
    (None switches a test off, 0 does not), `version`, and `judge`.
    """

    version: ClassVar[int] = 1
    rule: str

    @abstractmethod
    def judge(self, text: str, language: str, signals: Signals) -> Rejection | Edit | None:
        """None keeps the document as it is."""

    def above(self, reason: str, score: float, most: float | None) -> Rejection | None:
        """A rejection if the score is larger than allowed."""
        return Rejection(self.rule, reason, score, most) if most is not None and score > most else None

    def below(self, reason: str, score: float, least: float | None) -> Rejection | None:
        """A rejection if the score is smaller than allowed."""
        return Rejection(self.rule, reason, score, least) if least is not None and score < least else None
