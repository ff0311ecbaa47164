"""A fastText classifier's score as a signal: quality (keep what scores high) or toxicity (drop what does).

Keeping the documents that a small classifier finds most like a reference set, out of what other rules leave, is
DCLM's filter (Li et al. 2024, arXiv 2406.11794, §4.4: fastText, the top 10 %) and, with a threshold, GPT-3's (Brown et
al. 2020, arXiv 2005.14165, appendix A). `jobs.classifier` trains one.

`keep_fraction` keeps that share of a source's documents: of those that reach this rule, with the scores that they have
there (a text that a rule before this one edited is scored again), the best ones. The threshold is found between two
passes over the documents, exactly, and does not depend on how they are cut into units. Documents with the very score
of the last one kept stay too, so a few more than the share may. Languages whose thresholds `languages` changes are
judged by these, and do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from pydantic import Field, model_validator

from pipelines import storage
from pipelines.curation.classifiers.card import Card
from pipelines.curation.classifiers.model import ClassScorer
from pipelines.curation.classifiers.texts import TextSettings
from pipelines.curation.rules.base import Batch, Scorer, Test, ThresholdRule, Verdicts
from pipelines.storage import Location


class Classifier(ThresholdRule, frozen=True):
    """Documents by the probability of a class: `min_score`, `max_score` or both, or `keep_fraction`."""

    rule: Literal["classifier"] = "classifier"
    name: str = Field(
        default="quality",
        pattern=r"^[a-z][a-z0-9_]*$",
        description="names the score (classifier_NAME) and the reasons (NAME_too_low, NAME_too_high)",
    )
    model: Location = Field(description="a fastText classifier, such as jobs.classifier makes")
    label: str = Field(default="positive", description="the class whose probability is the score")
    min_score: float | None = Field(default=None, description="documents that score less go")
    max_score: float | None = Field(default=None, description="documents that score more go")
    keep_fraction: float | None = Field(
        default=None, gt=0, le=1, description="so much of each source's documents that reach this rule is kept"
    )
    text: TextSettings | None = Field(
        default=None, description="how the model reads texts; none: as its card (NAME.json beside it) says"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Classifier:
        if not {"min_score", "max_score", "keep_fraction"} & self.model_fields_set:
            raise ValueError("give min_score, max_score or keep_fraction (null: measure the score only)")
        if self.keep_fraction is not None and (self.min_score, self.max_score) != (None, None):
            raise ValueError("keep_fraction finds its own threshold; give no min_score or max_score")
        return self

    @property
    def column(self) -> str:
        """The signal's name."""
        return f"classifier_{self.name}"

    def tests(self) -> list[Test]:
        """Both thresholds; none while a `keep_fraction` has not been made one."""
        return [
            Test(f"{self.name}_too_low", self.column, "<", self.min_score),
            Test(f"{self.name}_too_high", self.column, ">", self.max_score),
        ]

    def judge(self, batch: Batch) -> Verdicts:
        """By the thresholds. Raises ValueError where a `keep_fraction` has not been made one."""
        if self.keep_fraction is not None:
            raise ValueError(f"classifier {self.name}: keep_fraction has no threshold yet (`ranking` finds it)")
        return super().judge(batch)

    def with_threshold(self, threshold: float) -> Classifier:
        """The same rule with a `keep_fraction` as the `min_score` that it comes to."""
        return self.model_copy(update={"min_score": threshold, "keep_fraction": None})

    def scorers(self) -> Mapping[str, tuple[str, Callable[[], Scorer]]]:
        """The score; which files it comes from is told by `files`."""
        made_of = storage.fingerprint([self.label, self.text.model_dump() if self.text else None])
        return {self.column: (made_of, partial(_load, self.model, self.label, self.text))}

    def files(self) -> list[str]:
        """The model, and its card where that is needed."""
        return [self.model] if self.text is not None else [self.model, Card.location(self.model)]

    def check(self) -> None:
        """Raises FileNotFoundError or ValueError when the card is missing, of another model, or without the class."""
        if self.text is None:
            Card.of(self.model).check(self.model, self.label)


def _load(location: str, label: str, text: TextSettings | None) -> Scorer:
    return ClassScorer.load(location, label, Card.of(location).text if text is None else text)
