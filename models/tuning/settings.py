"""What a search tries, on which proxy, and how its best point becomes settings for the target."""

from __future__ import annotations

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
    """A search by successive halving on a proxy.

    Every trial sees the same samples in the same order, starts from the same weights and is measured on the same
    held-out samples, so that differences come from the settings. A trial runs the schedule of its whole budget;
    asynchronous successive halving (Li et al. 2018, arXiv 1810.05934) stops it at a rung when it is not among the
    best 1 / `reduction` that got there.
    """

    space: SpaceSettings
    trials: int = Field(ge=1, description="points tried, quasi-random and nested: more trials add to fewer")
    tokens: int = Field(gt=0, description="a whole trial's budget in tokens")
    first_rung_tokens: int = Field(gt=0, description="tokens before the first decision")
    reduction: int = Field(default=3, ge=2, description="each rung is so many times the one before; 1 in so many go on")
    proxy: ModelSettings = Field(description="the network that is tried; `preset: NAME` starts from a named one")
    validation_sequences: int = Field(default=64, ge=1, description="held-out sequences each rung is measured on")
    concurrent: int = Field(default=0, ge=0, description="trials at once, one CPU each; 0: as many as there are CPUs")
    width_exponent: float = Field(
        default=1.0,
        ge=0,
        description="the target's learning rate is the proxy's times (proxy width / target width) to this power: 1 "
        "is the rule for Adam and hidden matrices (Yang et al. 2022, arXiv 2203.03466), 0 leaves it",
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

    def transferred(
        self, training: TrainingSettings, best: TrainingSettings, target: ModelSettings
    ) -> TrainingSettings:
        """The target's training settings with what the search found.

        Batch and weight decay are taken over; the learning rate is scaled with the width.
        """
        factor = (self.proxy.hidden_size / target.hidden_size) ** self.width_exponent
        found = {
            "learning_rate": float(f"{best.learning_rate * factor:.4g}"),
            "tokens_per_step": best.tokens_per_step,
            "weight_decay": best.weight_decay,
        }
        return TrainingSettings.model_validate(training.model_dump() | found)
