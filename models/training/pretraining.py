"""Pretraining data: a token store's mixture seen through an objective, as settings that travel to workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from models.network import build
from models.training.data import PretrainingDataset
from pipelines.tokens import MixtureSettings, Packing, Samples, TokenStore


class ObjectiveSettings(BaseModel, extra="forbid", frozen=True):
    """The self-supervised task."""

    name: Literal["causal", "masked", "fim"] = Field(
        default="causal", description="causal: the next token; masked: hidden tokens from both sides; fim: middles"
    )
    rate: float | None = Field(
        default=None, gt=0, lt=1, description="masked: share of hidden tokens (0.3); fim: of rearranged documents (0.5)"
    )

    @model_validator(mode="after")
    def _rate_has_a_use(self) -> ObjectiveSettings:
        if self.name == "causal" and self.rate is not None:
            raise ValueError("the causal objective has no rate")
        return self

    @property
    def architecture(self) -> Literal["decoder", "encoder"]:
        """The attention it needs: predicting the next token would be copying for a network that sees it."""
        return "encoder" if self.name == "masked" else "decoder"

    def arguments(self, vocabulary_size: int) -> dict[str, Any]:
        """What `models.network.build` takes besides the name."""
        values: dict[str, Any] = {} if self.rate is None else {"rate": self.rate}
        return values | ({"vocabulary_size": vocabulary_size} if self.name == "masked" else {})


@dataclass(frozen=True)
class PretrainingData:
    """Makes the dataset of a split; call it in each worker.

    Attributes:
        store: location of the token store.
        split: "train" or "validation".
        sequence_length: tokens a sample.
        mixture: what is drawn from each source.
        objective: the task.
        seed: of sample order and of what the objective hides.
        packing: how documents become windows.
    """

    store: str
    split: str
    sequence_length: int
    mixture: MixtureSettings
    objective: ObjectiveSettings
    seed: int
    packing: Packing = "concatenate"

    def samples(self) -> Samples:
        """The windows. Raises ValueError when the mixture names a source that the store has not."""
        store = TokenStore(self.store)
        return Samples(store, self.split, self.sequence_length, self.mixture, self.seed, self.packing)

    def __call__(self) -> PretrainingDataset:
        """The dataset."""
        samples = self.samples()
        objective = build(self.objective.name, **self.objective.arguments(samples.store.vocabulary_size))
        return PretrainingDataset(samples, objective, self.seed)
