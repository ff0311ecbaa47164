"""What a search tries, on which proxy, and how its best point becomes settings for the target."""

from __future__ import annotations

import math

from pydantic import BaseModel, Field, model_validator

from models.network import ModelSettings
from models.training.settings import TrainingSettings


class Range(BaseModel, extra="forbid", frozen=True):
    """Positive numbers between two bounds, evenly spread on a logarithmic scale."""

    low: float = Field(gt=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.high < self.low:
            raise ValueError(f"high {self.high:g} is below low {self.low:g}")
        return self

    def at(self, position: float) -> float:
        """The number at a position in 0..1."""
        return float(self.low * (self.high / self.low) ** position)


class SpaceSettings(BaseModel, extra="forbid", frozen=True):
    """What is searched."""

    learning_rate: Range = Field(description="peak learning rate of the proxy")
    tokens_per_step: tuple[int, ...] = Field(min_length=1, description="global batches to try, in tokens")
    weight_decay: Range = Field(description="decoupled weight decay")


class SearchSettings(BaseModel, extra="forbid", frozen=True):
    """A search by successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943) on a proxy.

    Every trial sees the same samples in the same order, starts from the same weights and is measured on the same
    held-out samples, so that differences come from the settings. At each rung the best 1 in `reduction` go on to a
    larger budget, and each budget is a whole run with a schedule of its own: before its learning rate decays, a run
    with a high one looks worse than it will be. Rounds wait for their last trial, so the choice depends on no timing.
    """

    space: SpaceSettings
    trials: int = Field(ge=1, description="points tried, quasi-random and nested: more trials add to fewer")
    tokens: int = Field(gt=0, description="a trial's budget in the last round")
    first_rung_tokens: int = Field(gt=0, description="a trial's budget in the first round")
    reduction: int = Field(default=3, ge=2, description="each rung is so many times the one before; 1 in so many go on")
    proxy: ModelSettings = Field(description="the network that is tried; `preset: NAME` starts from a named one")
    validation_sequences: int = Field(default=64, ge=1, description="held-out sequences each rung is measured on")
    concurrent: int = Field(default=0, ge=0, description="trials at once, one CPU each; 0: as many as CPUs")
    width_exponent: float | None = Field(
        default=None,
        ge=0,
        description="the target's learning rate is the proxy's times (proxy width / target width) to this power; none: "
        "1 for adamw, the rule for Adam and hidden matrices (Yang et al. 2022, arXiv 2203.03466), and 0 for muon, "
        "whose updates are of one size at any width (Liu et al. 2025, arXiv 2502.16982)",
    )
    horizon_exponent: float = Field(
        default=0.32,
        ge=0,
        description="and times (search tokens / target tokens) to this power: longer runs want lower rates; 0.32 is "
        "the fit of Bjorck et al. 2024, arXiv 2409.19913, 0 leaves it",
    )

    @model_validator(mode="after")
    def _rungs_are_whole_steps(self) -> SearchSettings:
        for batch in self.space.tokens_per_step:
            for rung in self.rungs:
                if rung % batch:
                    raise ValueError(
                        f"the rung at {rung:,} tokens is no whole number of steps of {batch:,}: trials would not be "
                        "compared at equal tokens"
                    )
        return self

    @property
    def rungs(self) -> tuple[int, ...]:
        """Token counts at which trials are measured; the last is the whole budget."""
        rungs, rung = [], self.first_rung_tokens
        while rung < self.tokens:
            rungs.append(rung)
            rung *= self.reduction
        return (*rungs, self.tokens)

    @property
    def planned_tokens(self) -> int:
        """Tokens that all trials train on together, when none diverges."""
        total, left = 0, self.trials
        for rung in self.rungs:
            total, left = total + left * rung, math.ceil(left / self.reduction)
        return total

    def transferred(
        self, training: TrainingSettings, best: TrainingSettings, target: ModelSettings
    ) -> TrainingSettings:
        """The target's training settings with what the search found.

        Batch and weight decay are taken over; the learning rate is scaled with the width and the horizon.
        """
        exponent = self.width_exponent
        if exponent is None:
            exponent = 0.0 if training.optimizer == "muon" else 1.0
        factor = (self.proxy.hidden_size / target.hidden_size) ** exponent
        factor *= (self.tokens / training.tokens) ** self.horizon_exponent
        found = {
            "learning_rate": float(f"{best.learning_rate * factor:.4g}"),
            "tokens_per_step": best.tokens_per_step,
            "weight_decay": best.weight_decay,
        }
        return TrainingSettings.model_validate(training.model_dump() | found)
