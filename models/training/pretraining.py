"""Pretraining data: a token store's mixture seen through an objective, as settings that travel to workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from models.network import OBJECTIVES, Mixture, Objective, build
from models.training.data import PretrainingDataset
from pipelines.tokens import SPECIAL_TOKENS, MixtureSettings, Packing, Samples, TokenStore

Architecture = Literal["decoder", "encoder"]
_OPTIONS = {"masked": ("rate", "mean_span"), "fim": ("rate",), "span": ("rate", "mean_span")}


class _Task(BaseModel, extra="forbid", frozen=True):
    name: str
    rate: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="masked: share of hidden tokens (0.3); fim: of rearranged documents (0.5); span: of tokens in "
        "spans (0.15)",
    )
    mean_span: float | None = Field(
        default=None, ge=1, allow_inf_nan=False, description="masked (1), span (3): tokens of a hidden span on average"
    )

    @model_validator(mode="after")
    def _options_have_a_use(self) -> _Task:
        for option in ("rate", "mean_span"):
            if getattr(self, option) is not None and option not in _OPTIONS.get(self.name, ()):
                raise ValueError(f"{option}: the {self.name} objective has no {option}")
        if self.name in OBJECTIVES:
            size = len(SPECIAL_TOKENS)
            self._alone(size + 1, tuple(range(size)))
        return self

    def _alone(self, vocabulary_size: int, special: tuple[int, ...]) -> Objective:
        given = {"rate": self.rate, "mean_span": self.mean_span}
        values: dict[str, Any] = {option: value for option, value in given.items() if value is not None}
        if self.name in _OPTIONS:
            values["special"] = special
        if self.name == "masked":
            values["vocabulary_size"] = vocabulary_size
        return build(self.name, **values)


class PartSettings(_Task, frozen=True):
    """An objective in a mixture."""

    name: Literal["causal", "masked", "fim", "prefix", "span"] = Field(description="as objective.name")
    weight: float = Field(ge=0, allow_inf_nan=False, description="its share of the samples, of the weights' sum")


class ObjectiveSettings(_Task, frozen=True):
    """The self-supervised task: one objective, or several, each for its share of the samples."""

    name: Literal["causal", "masked", "fim", "prefix", "span", "mixture"] = Field(
        default="causal",
        description="causal: the next token; masked: hidden tokens from both sides; fim: middles; prefix: what follows "
        "a prefix; span: hidden spans, after the text around them; mixture: several (what it is where one is given)",
    )
    mixture: dict[str, PartSettings] | None = Field(
        default=None,
        description="objective -> weight, or -> weight, rate and mean_span; with a name among these the key is a "
        "label, so that an objective may be there twice",
    )

    @model_validator(mode="before")
    @classmethod
    def _named_for_its_mixture(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("mixture") and "name" not in values:
            return {"name": "mixture", **values}
        return values

    @field_validator("mixture", mode="before")
    @classmethod
    def _weights_alone(cls, mixture: Any) -> Any:
        if not isinstance(mixture, dict):
            return mixture
        parts, problems = {}, []
        for key, given in mixture.items():
            values = given if isinstance(given, dict) else {"weight": given}
            if "name" not in values and key not in OBJECTIVES:
                problems.append(f"{key}: no objective, and there is no name; there are {', '.join(OBJECTIVES)}")
                continue
            try:
                parts[key] = given if isinstance(given, PartSettings) else PartSettings(**{"name": key} | values)
            except ValidationError as error:
                for problem in error.errors():
                    where = ".".join(str(part) for part in (key, *problem["loc"]))
                    problems.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
        if problems:
            raise ValueError("; ".join(problems))
        return parts

    @model_validator(mode="after")
    def _mixture_fits(self) -> ObjectiveSettings:
        if self.name != "mixture":
            if self.mixture:
                raise ValueError(
                    f"mixture: of no use to the {self.name} objective; expected `name: mixture` or no name"
                )
            return self
        parts = self._parts
        if not parts:
            raise ValueError("mixture: expected objectives with weights, at least one above 0")
        masked = [key for key, part in parts.items() if part.name == "masked"]
        others = [key for key in parts if key not in masked]
        if masked and others:
            raise ValueError(
                f"mixture: {', '.join(masked)} needs attention both ways, {', '.join(others)} attention to the past "
                "only; one network has one of them"
            )
        return self

    def __str__(self) -> str:
        """For people: `causal`, or `causal 0.5, fim 0.5`."""
        total = sum(part.weight for part in self._parts.values())
        return ", ".join(f"{key} {part.weight / total:.3g}" for key, part in self._parts.items()) or self.name

    @property
    def architecture(self) -> Architecture:
        """The attention it needs: predicting the next token would be copying for a network that sees it."""
        names: list[str] = [part.name for part in self._parts.values()] or [self.name]
        return "encoder" if "masked" in names else "decoder"

    def build(self, vocabulary_size: int, special: tuple[int, ...]) -> Objective:
        """The objective.

        Args:
            vocabulary_size: of the tokenizer.
            special: its ids of `pipelines.tokens.SPECIAL_TOKENS`, in that order.
        """
        parts = list(self._parts.values())
        if not parts:
            return self._alone(vocabulary_size, special)
        objectives = tuple(part._alone(vocabulary_size, special) for part in parts)
        return Mixture(objectives, tuple(part.weight for part in parts))

    @property
    def _parts(self) -> dict[str, PartSettings]:
        return {key: part for key, part in (self.mixture or {}).items() if part.weight > 0}


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
        store = samples.store
        special = tuple(store.manifest["special_tokens"][token] for token in SPECIAL_TOKENS)
        return PretrainingDataset(samples, self.objective.build(store.vocabulary_size, special), self.seed)
