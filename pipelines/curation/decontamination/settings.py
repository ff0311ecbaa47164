"""Which evaluation files a corpus is compared against, and when a document goes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from pipelines.storage import Location

TaskName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class TaskFiles(BaseModel, extra="forbid", frozen=True):
    """The examples of a task: JSON lines, an example a row; plain, `.gz`, `.zst` or `.bz2`."""

    paths: tuple[Location, ...] = Field(min_length=1, description="files, directories or globs")
    fields: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="keys whose texts are the example; a dot goes into an object, lists are walked through. None: "
        "every string of the row",
    )
    joined: bool = Field(
        default=False,
        description="the example is one text, its fields one after another in this order, so that a question of five "
        "words and an answer of four can be found where they stand together; else no n-gram runs from one into another",
    )


class DecontaminationSettings(BaseModel, extra="forbid", frozen=True):
    """Documents that hold examples of evaluations go.

    Published: one 13-gram of words (GPT-3, Brown et al. 2020, which also ignores n-grams that more than 10 documents
    hold); 70 % of an example's 8-grams (PaLM, Chowdhery et al. 2022); half of its tokens in 8-grams (Tülu 3, Lambert et
    al. 2024). The default is GPT-3's rule: a copy is missed only where every 13 words of it were changed, and 13 words
    in a row are rarely chance. Where examples are made of texts that a corpus may well quote (passages of an
    encyclopedia, code), `coverage` costs fewer documents.
    """

    tasks: dict[TaskName, TaskFiles] = Field(min_length=1, description="name -> its files")
    n: int = Field(default=13, ge=2, le=64, description="words of an n-gram")
    min_words: int = Field(
        default=8,
        ge=1,
        description="an example all of whose texts have fewer than n words is found by whole texts of at least so "
        "many; one without such a text cannot be checked, and is counted",
    )
    rule: Literal["any", "count", "coverage"] = Field(
        default="any",
        description="a document goes that holds one n-gram of an example; `min_count` of them; `min_coverage` of them",
    )
    min_count: int = Field(
        default=3, ge=1, description="of rule count: different n-grams of one example, or all where it has fewer"
    )
    min_coverage: float = Field(
        default=0.5, gt=0, le=1, description="of rule coverage: share of one example's different n-grams"
    )
    max_documents: int | None = Field(
        default=1000,
        ge=1,
        description="n-grams that more documents hold are common phrases: they do not count, as if their examples had "
        "not held them. None: all count",
    )

    @model_validator(mode="after")
    def _whole_texts_are_shorter(self) -> DecontaminationSettings:
        if self.min_words > self.n:
            raise ValueError(f"min_words is {self.min_words}; expected at most n, {self.n}")
        return self

    def deciding(self) -> dict[str, Any]:
        """What the removals depend on, besides the index and the documents."""
        return self.model_dump(mode="json", include={"rule", "min_count", "min_coverage", "max_documents"})
