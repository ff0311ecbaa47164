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

    by: str = Field(
        description="length (of the text, in bytes), date (by its digits), or a signal or score that is measured"
    )
    first: Literal["high", "low"] = Field(
        default="high", description="high: the longest, latest, best; low: the other end"
    )


class LineDuplicates(BaseModel, extra="forbid", frozen=True):
    """Segments that several documents have, or one has twice: one copy stays, in the document that `prefer` puts first
    (ties by a hash of the id), at its first place there.

    Documents that earlier stages removed take no part, so that no segment goes with a removed copy. The floor of five
    words is that of C4's published code: shorter lines are mostly headings, answers and items of lists, which texts
    have in common without a copy. Fifty words is Gopher's floor (Rae et al. 2021); DCLM drops a document of which 0.8
    were seen before (Li et al. 2024).
    """

    by: Literal["lines", "paragraphs"] = Field(
        default="lines", description="what is compared; blank lines part paragraphs"
    )
    min_words: int = Field(default=5, ge=1, description="segments of fewer words are left alone")
    boilerplate_documents: int | None = Field(
        default=None, ge=2, description="segments that at least so many documents have go everywhere; none: never"
    )
    max_lost: float = Field(
        default=0.8, gt=0, le=1, description="a document that loses more than this share of its characters goes"
    )
    min_words_left: int = Field(
        default=50, ge=1, description="a document goes that loses segments and has fewer words left"
    )
    sources: tuple[str, ...] | None = Field(
        default=None, description="names of the sources whose documents take part; none: all but those of code"
    )

    def takes(self, name: str, kind: str) -> bool:
        """Whether a source takes part. Code repeats lines by its nature."""
        return kind != "code" if self.sources is None else name in self.sources

    @property
    def name(self) -> str:
        """One of them."""
        return self.by.removesuffix("s")


class DuplicateSettings(BaseModel, extra="forbid", frozen=True):
    """Duplicate documents of the whole corpus, and of corpora that it is compared against."""

    exact: bool = Field(default=True, description="texts that are equal up to case, white space")
    near: NearDuplicates | None = Field(default=None, description="texts that share most of their word shingles")
    lines: LineDuplicates | None = Field(
        default=None, description="lines or paragraphs that several of the documents left have"
    )
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
