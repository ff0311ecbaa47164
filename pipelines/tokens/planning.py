"""What a mixture comes to for a token budget, before anything is trained or even tokenized.

Figures are of tokens as such; a training run draws whole samples and rounds by a few of them (`Samples.plan`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.tokens.mixture import ANY, GroupName, MixtureSettings
from pipelines.tokens.store import TokenStore

Available = dict[GroupName, float]
"""Tokens of each group."""


@dataclass(frozen=True)
class PlanRow:
    """What is drawn from one source in one language.

    Attributes:
        source: its name.
        language: of the documents; "*" where the languages of the source are not counted apart.
        available: tokens there are.
        weight: share of all tokens drawn.
        drawn: tokens drawn.
        by_stage: the same, apart for each stage.
        epochs: passes over what there is.
        cap: the most passes allowed.
        cap_setting: what says so.
    """

    source: str
    language: str
    available: float
    weight: float
    drawn: float
    by_stage: tuple[float, ...]
    epochs: float
    cap: float
    cap_setting: str

    @property
    def fits(self) -> bool:
        """Whether it is read no more often than allowed."""
        return self.epochs <= self.cap * (1 + 1e-9)


@dataclass(frozen=True)
class MixturePlan:
    """A budget over a mixture.

    Attributes:
        tokens: the budget.
        rows: one a group, in order; those that are not drawn are left out.
        fitting: the largest budget that keeps to every cap; infinite if none is ever reached.
        unused: groups that no key names.
    """

    tokens: int
    rows: tuple[PlanRow, ...]
    fitting: float
    unused: tuple[str, ...]

    def check(self) -> None:
        """Make sure that the budget keeps to the caps.

        Raises:
            ValueError: it does not; the message names the group that is exceeded most, and what would fit.
        """
        over = [row for row in self.rows if not row.fits]
        if over:
            worst = max(over, key=lambda row: row.epochs / row.cap)
            raise ValueError(
                f"mixture: {self.tokens:,} tokens read '{worst.source}/{worst.language}' {worst.epochs:.2f} times, "
                f"{worst.cap_setting} is {worst.cap:g}. At most {int(self.fitting):,} tokens fit: train on fewer, "
                f"lower its weight, or raise {worst.cap_setting}"
            )


def of_store(store: TokenStore, split: str = "train") -> Available:
    """The tokens of a finished store."""
    return {GroupName(group.source, group.language): float(group.tokens) for group in store.groups(split)}


def of_corpus(values: Mapping[str, Any], bytes_per_token: float, train_fraction: float = 1.0) -> Available:
    """The tokens that a corpus will be, about.

    Args:
        values: the corpus manifest; where a source has no `languages`, its group is `source/*`.
        bytes_per_token: UTF-8 bytes a token is expected to stand for.
        train_fraction: the share of the documents that is not held out.
    """
    found: Available = {}
    for source, entry in values["sources"].items():
        for language, counts in entry.get("languages", {ANY: entry}).items():
            tokens = counts["bytes"] / bytes_per_token + counts["documents"]
            found[GroupName(source, language)] = tokens * train_fraction
    return dict(sorted(found.items()))


def plan(available: Available, mixture: MixtureSettings, tokens: int) -> MixturePlan:
    """Share a budget out.

    Args:
        available: from `of_store` or `of_corpus`.
        mixture: weights, caps, stages.
        tokens: the budget.

    Raises:
        ValueError: the mixture does not fit what is there; not for too many passes: see `MixturePlan.check`.
    """
    keys = {key for stage in mixture.stages for key in stage.weights} | set(mixture.caps)
    uncounted = sorted(name.source for name in available if name.language == ANY)
    if uncounted and (named := sorted(key for key in keys if "/" in key)):
        raise ValueError(
            f"mixture: {named[0]!r} names a language, and the languages of {uncounted[0]!r} are counted only when it "
            f"is tokenized; plan with the token store"
        )
    groups = list(available)
    there = np.array([available[name] for name in groups])
    caps, settings = mixture.cap(groups)
    shares = np.stack([mixture.shares(stage, available) for stage in mixture.stages])
    borders = [0.0, *(float(stage.until_tokens or 0) for stage in mixture.stages[:-1]), float("inf")]
    lengths = np.diff(np.minimum(borders, tokens))
    by_stage = shares * lengths[:, None]
    drawn = by_stage.sum(axis=0)
    rows = tuple(
        PlanRow(
            source=name.source,
            language=name.language,
            available=float(there[g]),
            weight=float(drawn[g] / tokens),
            drawn=float(drawn[g]),
            by_stage=tuple(by_stage[:, g].tolist()),
            epochs=float(drawn[g] / there[g]),
            cap=float(caps[g]),
            cap_setting=settings[g],
        )
        for g, name in enumerate(groups)
        if shares[:, g].any()
    )
    unused = tuple(str(name) for g, name in enumerate(groups) if not shares[:, g].any())
    return MixturePlan(tokens, rows, _fitting(shares, borders, caps * there), unused)


def _fitting(shares: Any, borders: list[float], limits: Any) -> float:
    """Where the first group meets its limit, going through the stages in order."""
    left = limits.astype(np.float64)
    for stage, share in enumerate(shares):
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = float(np.where(share > 0, left / share, np.inf).min())
        if reach < borders[stage + 1] - borders[stage]:
            return borders[stage] + reach
        left = left - share * (borders[stage + 1] - borders[stage])
    return float("inf")


def lines(found: MixturePlan) -> list[str]:
    """A table for a person."""
    width = max([len(f"{row.source}/{row.language}") for row in found.rows], default=0)
    text = [f"{'':{width}}  {'available':>12}  {'drawn':>12}  {'share':>7}  {'passes':>7}  {'at most':>7}"]
    for row in found.rows:
        name = f"{row.source}/{row.language}"
        text.append(
            f"{name:{width}}  {_count(row.available):>12}  {_count(row.drawn):>12}  {row.weight:>7.2%}  "
            f"{row.epochs:>7.2f}  {row.cap:>7g}{'' if row.fits else '  too often'}"
        )
    total = sum(row.available for row in found.rows)
    text.append(f"{'':{width}}  {_count(total):>12}  {_count(found.tokens):>12}")
    if len(found.rows) and len(found.rows[0].by_stage) > 1:
        for stage in range(len(found.rows[0].by_stage)):
            drawn = sum(row.by_stage[stage] for row in found.rows)
            parts = ", ".join(
                f"{row.source}/{row.language} {row.by_stage[stage] / drawn:.1%}"
                for row in found.rows
                if row.by_stage[stage]
            )
            text.append(f"stage {stage + 1}: {_count(drawn)} tokens{': ' if parts else ''}{parts}")
    if found.unused:
        text.append(f"not drawn: {', '.join(found.unused)}")
    if found.fitting != float("inf"):
        text.append(f"at most {int(found.fitting):,} tokens keep to the caps")
    return text


def _count(tokens: float) -> str:
    """A number of tokens in three or four digits."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if tokens >= size:
            return f"{tokens / size:,.2f} {unit}"
    return f"{tokens:,.0f}"
