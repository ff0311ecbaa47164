"""What counts as a duplicate, and which copy stays."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from pipelines.storage import Location

PRESETS = {"fineweb": (14, 8, 5), "refinedweb": (450, 20, 5)}
"""Bands, rows, words a shingle: Penedo et al. 2024 (arXiv 2406.17557), Penedo et al. 2023 (arXiv 2306.01116)."""


class NearDuplicates(BaseModel, extra="forbid", frozen=True):
    """MinHash with locality-sensitive hashing (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3).

    Two documents whose sets of word shingles have the Jaccard similarity s agree in one minimum with probability s, in
    a band of r of them with s^r, and in at least one of b bands with 1 - (1 - s^r)^b; then they are duplicates.
    """

    preset: Literal["fineweb", "refinedweb", "custom"] = Field(
        default="fineweb",
        description="14 bands of 8, or 450 of 20, both of 5 words; custom: bands, rows, shingle_words",
    )
    bands: int | None = Field(default=None, ge=1, le=1024, description="of preset custom")
    rows: int | None = Field(default=None, ge=1, le=256, description="minima a band, of preset custom")
    shingle_words: int | None = Field(default=None, ge=1, le=64, description="of preset custom")
    verify: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="of two documents that share a band, the least estimated similarity to be duplicates; none: "
        "sharing a band is enough",
    )
    seed: int = Field(default=1, ge=0, description="of the hash functions")

    @model_validator(mode="after")
    def _custom_says_all(self) -> NearDuplicates:
        own = {"bands": self.bands, "rows": self.rows, "shingle_words": self.shingle_words}
        if self.preset == "custom":
            missing = [name for name, value in own.items() if value is None]
            if missing:
                raise ValueError(f"preset custom needs {', '.join(missing)}")
        elif any(value is not None for value in own.values()):
            raise ValueError(f"bands, rows and shingle_words are of preset custom, not of {self.preset}")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows a band, words a shingle."""
        if self.preset == "custom":
            assert self.bands is not None
            assert self.rows is not None
            assert self.shingle_words is not None
            return self.bands, self.rows, self.shingle_words
        return PRESETS[self.preset]

    def signing(self) -> list[int]:
        """What signatures depend on."""
        return [*self.shape, self.seed]

    def collides(self, similarity: float) -> float:
        """The probability with which documents of a similarity share a band."""
        bands, rows, _ = self.shape
        return float(1 - (1 - similarity**rows) ** bands)


class Preference(BaseModel, extra="forbid", frozen=True):
    """By what the copy that stays is chosen."""

    by: str = Field(description="length (of the text, in bytes), date, or a signal or score that is measured")
    first: Literal["high", "low"] = Field(
        default="high", description="high: the longest, latest, best; low: the other end"
    )


class DuplicateSettings(BaseModel, extra="forbid", frozen=True):
    """Duplicate documents of the whole corpus, and of corpora that it is compared against."""

    exact: bool = Field(default=True, description="texts that are equal up to case, white space")
    near: NearDuplicates | None = Field(default=None, description="texts that share most of their word shingles")
    prefer: tuple[Preference, ...] = Field(
        default=(),
        description="of duplicates the first by these stays, ties by the smallest id; a document without the value "
        "comes last. Empty: the smallest id",
    )
    against: tuple[Location, ...] = Field(
        default=(),
        description="outputs of earlier curations: what they have is dropped here; they are compared by their index "
        "and not read again",
    )
    keep_index: bool = Field(default=True, description="leave an index that a later curation can be compared against")
