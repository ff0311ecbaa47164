"""Everything the training of a classifier can be told."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from pipelines.curation.classifiers.texts import TextSettings
from pipelines.storage import Location

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""A class; fastText's labels end at a space."""

POSITIVE, NEGATIVE = "positive", "negative"


class Input(BaseModel, extra="forbid", frozen=True):
    """Documents: JSON lines (`.gz`, `.zst`, `.bz2` too) or Parquet, such as a `corpus/` or `rejects/` of `jobs.curate`.

    A directory that holds Parquet files is read as these alone.
    """

    name: Label | None = Field(default=None, description="names it in the report; none: the last part of its path")
    paths: list[Location] = Field(min_length=1, description="files, directories or globs")
    field: str = Field(default="text", description="the rows' key or column with the text")

    @property
    def shown(self) -> str:
        """Its name, or the last part of its first path."""
        return self.name or self.paths[0].rstrip("/").rsplit("/", 1)[-1]


class Labelled(Input, frozen=True):
    """Documents that name their class themselves."""

    label: str = Field(default="label", description="the rows' key with the class")
    at_least: float | None = Field(
        default=None, description="the key holds numbers: from this one on positive, below it negative"
    )
    labels: dict[str, Label] = Field(
        default={}, description="what the key holds (as text) -> the class; other rows are left out. Empty: as it is"
    )

    def label_of(self, value: str | None) -> str | None:
        """The class of a row; None for rows that are left out.

        Raises ValueError for a value that is no number where numbers are expected.
        """
        if value is None:
            return None
        if self.at_least is not None:
            value = POSITIVE if float(value) >= self.at_least else NEGATIVE
        return self.labels.get(value) if self.labels else value


class TrainingSettings(BaseModel, extra="forbid", frozen=True):
    """fastText's (Joulin et al. 2016, arXiv 1607.01759), with a softmax over the classes."""

    dim: int = Field(default=16, ge=1, le=1000, description="numbers a word; two classes need few")
    epochs: int = Field(default=5, ge=1)
    learning_rate: float = Field(default=0.1, gt=0, description="halved, up to 5 times, when training diverges")
    word_ngrams: int = Field(default=2, ge=1, le=5, description="2: words and pairs of words")
    min_count: int = Field(default=2, ge=1, description="rarer words are unknown ones")
    buckets: int = Field(default=200_000, ge=1, description="rows for pairs of words; 4 bytes times dim each")
    threads: int = Field(default=1, ge=1, description="1: the same documents and seed give the same model; more: not")
    quantize: bool = Field(default=False, description="a smaller .ftz file, with scores that differ a little")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class ClassifierSettings(BaseModel, extra="forbid", frozen=True):
    """Documents of each class, how many are used, and how they are read and learned."""

    classes: dict[Label, Annotated[list[Input], BeforeValidator(_listed)]] = Field(
        default={}, description="class -> its documents: one input or a list of them"
    )
    labelled: Annotated[list[Labelled], BeforeValidator(_listed)] = Field(
        default=[], description="inputs whose rows name their class"
    )
    label: Label = Field(default=POSITIVE, description="the class whose probability is the score")
    max_documents: int | None = Field(
        default=100_000,
        ge=1,
        description="of each class, chosen by a hash of the text; none: all. The driver holds them in memory",
    )
    held_out: float = Field(default=0.1, gt=0, lt=1, description="share of documents, by hash, to assess the model on")
    thresholds: list[float] = Field(
        default=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99],
        min_length=1,
        description="scores at which the report gives precision and recall",
    )
    text: TextSettings = TextSettings()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _two_classes(self) -> ClassifierSettings:
        if not self.labelled and len(self.classes) < 2:
            raise ValueError("a classifier needs two classes: `classes` with two names, or `labelled` inputs")
        if not self.labelled and self.label not in self.classes:
            raise ValueError(f"label is {self.label!r}, the classes are {', '.join(self.classes)}")
        return self

    def inputs(self) -> list[tuple[str | None, Input]]:
        """All inputs with their class; None for those whose rows name it."""
        known = [(label, one) for label, inputs in self.classes.items() for one in inputs]
        return [*known, *((None, one) for one in self.labelled)]
