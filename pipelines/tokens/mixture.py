"""How sources and languages are mixed: weights in tokens, temperature, caps on repetition, a curriculum.

The documents of one source in one language are a *group*. A key names groups:

    wiki/fr   one group            wiki   all languages of a source
    */fr      a language           *      everything

A group belongs to the most specific key that names it; `wiki` beside `*/fr` is refused where there is a `wiki/fr`
without a weight of its own. A key's weight is shared by the groups that belong to it in proportion to
tokens^(1/temperature): 1 is by what there is, larger ones favour the small (Conneau et al. 2020, arXiv 1911.02116,
use 1/0.3 over languages). Groups that no key names are not used. No weights at all are the same as `{"*": 1}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, field_validator, model_validator

ANY = "*"
_POSITIVE = "expected a positive number"


class GroupName(NamedTuple):
    """The documents of one source in one language."""

    source: str
    language: str

    def __str__(self) -> str:
        return f"{self.source}/{self.language}"


class Stage(BaseModel, extra="forbid", frozen=True):
    """A part of the training run with weights of its own."""

    until_tokens: int | None = Field(
        default=None,
        gt=0,
        description="where the next stage begins, in training tokens of the run (in whole samples); none: the last",
    )
    weights: dict[str, float] = Field(default_factory=dict, description="as mixture.weights")
    temperature: float | None = Field(default=None, gt=0, description="as mixture.temperature; none: the same")

    @field_validator("weights")
    @classmethod
    def _weights(cls, weights: dict[str, float]) -> dict[str, float]:
        return _checked("weight", weights)


class MixtureSettings(BaseModel, extra="forbid", frozen=True):
    """What a training run draws from each source and language.

    Several passes over the same text are worth nearly as much as new text up to about four, and little after that
    (Muennighoff et al. 2023, arXiv 2305.16264), hence the default cap.
    """

    weights: dict[str, float] = Field(
        default_factory=dict,
        description="source, source/language, */language or * -> share of the tokens drawn (any scale; they are "
        "normalised); what no key names is not used. Empty: all by the tokens there are, so that one pass reads "
        "everything once",
    )
    temperature: float = Field(
        default=1.0, gt=0, description="a key's weight is shared by its groups by tokens^(1/temperature)"
    )
    max_epochs: float = Field(default=4.0, gt=0, description="no group may be read more often than this")
    caps: dict[str, float] = Field(
        default_factory=dict, description="the same for some: source, source/language or */language -> passes"
    )
    curriculum: tuple[Stage, ...] = Field(
        default=(), description="stages one after the other instead of `weights`; passes are counted across them"
    )

    @field_validator("weights", "caps")
    @classmethod
    def _numbers(cls, values: dict[str, float]) -> dict[str, float]:
        return _checked("value", values)

    @model_validator(mode="after")
    def _stages_follow(self) -> MixtureSettings:
        if self.weights and self.curriculum:
            raise ValueError("weights: a mixture with a curriculum has its weights in the stages")
        borders = [stage.until_tokens for stage in self.curriculum]
        if borders and borders[-1] is not None:
            raise ValueError("curriculum: the last stage goes on to the end; leave out its until_tokens")
        known = [border for border in borders[:-1] if border is not None]
        if len(known) < len(borders) - 1:
            raise ValueError("curriculum: every stage but the last needs until_tokens")
        if any(later <= earlier for earlier, later in pairwise(known)):
            raise ValueError(f"curriculum: until_tokens {known} do not rise from stage to stage")
        return self

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The curriculum; without one, its only stage."""
        return self.curriculum or (Stage(weights=self.weights),)

    def shares(self, stage: Stage, available: Mapping[GroupName, float]) -> npt.NDArray[np.float64]:
        """The share of the tokens drawn that comes from each group, [G], in the mapping's order; they sum to 1.

        Args:
            stage: one of `stages`.
            available: tokens of each group; 0 where there is less than one sample.

        Raises:
            ValueError: a key names nothing, or nothing that has a sample, or two keys claim one group.
        """
        groups = list(available)
        tokens = np.array([available[group] for group in groups], dtype=np.float64)
        if not stage.weights and not tokens.any():
            raise ValueError("mixture: no source is as long as one sample")
        weights = stage.weights or {ANY: 1.0}
        owners = assign(weights, groups)
        temperature = self.temperature if stage.temperature is None else stage.temperature
        shares = np.zeros(len(groups))
        for key, weight in weights.items():
            mine = np.array([owner == key for owner in owners])
            if not mine.any():
                raise ValueError(f"mixture: every group of {key!r} has a key of its own; leave {key!r} out")
            # Of numbers as large as token counts, only ratios may be raised to a power.
            parts = np.where(mine, tokens / max(1.0, float(tokens.max())), 0.0) ** (1.0 / temperature)
            parts[~mine | (tokens == 0)] = 0.0
            if not parts.any():
                raise ValueError(f"mixture: {key!r} is shorter than one sample")
            shares += weight * parts / parts.sum()
        return shares / shares.sum()

    def cap(self, groups: Sequence[GroupName]) -> tuple[npt.NDArray[np.float64], list[str]]:
        """How often each group may be read, [G], and the setting that says so.

        Raises:
            ValueError: a key of `caps` names nothing, or two claim one group.
        """
        owners = assign(self.caps, groups, "mixture.caps")
        epochs = np.array([self.max_epochs if owner is None else self.caps[owner] for owner in owners])
        return epochs, ["mixture.max_epochs" if owner is None else f"mixture.caps[{owner}]" for owner in owners]


def assign(keys: Iterable[str], groups: Sequence[GroupName], where: str = "mixture") -> list[str | None]:
    """The key that each group belongs to, None for a group that no key names.

    Raises:
        ValueError: a key names no group, or a group belongs to `source` and `*/language` alike.
    """
    asked = set(keys)
    for key in sorted(asked):
        _refuse_unknown(key, groups, where)
    owners: list[str | None] = []
    for group in groups:
        source, language = group.source in asked, f"{ANY}/{group.language}" in asked
        if str(group) in asked:
            owners.append(str(group))
        elif source and language:
            raise ValueError(
                f"{where}: {group} belongs to {group.source!r} and to '{ANY}/{group.language}'; give {str(group)!r} "
                f"a value of its own"
            )
        elif source:
            owners.append(group.source)
        elif language:
            owners.append(f"{ANY}/{group.language}")
        else:
            owners.append(ANY if ANY in asked else None)
    return owners


def _refuse_unknown(key: str, groups: Sequence[GroupName], where: str) -> None:
    source, _, language = key.partition("/")
    sources = {group.source for group in groups}
    if source not in {ANY, *sources}:
        raise ValueError(f"{where}: no source {source!r}; there are {', '.join(sorted(sources)) or 'none'}")
    languages = {group.language for group in groups if source in (ANY, group.source)}
    if language and language not in languages:
        whose = "" if source == ANY else f" in {source!r}"
        raise ValueError(f"{where}: no language {language!r}{whose}; there are {', '.join(sorted(languages))}")


def _checked(what: str, values: dict[str, float]) -> dict[str, float]:
    for key, value in values.items():
        source, slash, language = key.partition("/")
        if not source or "/" in language or (slash and language in ("", ANY)):
            raise ValueError(f"{key!r}: expected source, source/language, */language or *")
        if not 0 < value < float("inf"):
            raise ValueError(f"the {what} of {key!r} is {value}: {_POSITIVE}")
    return values
