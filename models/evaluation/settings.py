"""What an evaluation does: which tasks, how much of each, and how the model is run."""

from __future__ import annotations

from pydantic import BaseModel, Field, field_validator


class TaskSettings(BaseModel, extra="forbid", frozen=True):
    """One task of an evaluation."""

    task: str = Field(description="a task of models.evaluation.tasks.TASKS")
    file: str | None = Field(default=None, description="rows below `data`; by default <task>.jsonl")
    limit: int | None = Field(
        default=None,
        ge=1,
        description="items (held_out: documents of each source; needle, copy: of each length and depth); all, or 20",
    )
    max_tokens: int = Field(
        default=512,
        ge=16,
        description="held_out, fill_mask: tokens of a document that are scored; copy: of the passage, at most",
    )
    lengths: tuple[int, ...] = Field(
        default=(), description="needle, copy: tokens of context; from 256 doubling up to what the model sees, if none"
    )
    depths: tuple[float, ...] = Field(
        default=(0.0, 0.25, 0.5, 0.75, 1.0), min_length=1, description="needle: where the sentence stands; 0: first"
    )
    window: int | None = Field(
        default=None,
        ge=2,
        description="held_out, fill_mask: tokens scored at once, as long as in training; max_tokens if none",
    )
    start_alone: bool = Field(
        default=False,
        description="held_out: BOS predicts the first token and is not shown to the others, for models trained without",
    )
    max_new_tokens: int = Field(default=32, ge=1, description="tokens generated for an item")
    instruction: str = Field(
        default="Translate to {language}: {text}",
        description="translation by a model with a chat template: the user's message, as in its fine-tuning",
    )
    shots: int = Field(default=3, ge=0, description="translation by a model without chat template: examples shown")

    @field_validator("instruction")
    @classmethod
    def _holds_the_text(cls, instruction: str) -> str:
        try:
            filled = instruction.format(language="", text="\0")
        except (KeyError, IndexError, ValueError):
            filled = ""
        if filled.count("\0") != 1:
            raise ValueError("expected {text} once, and {language} or not")
        return instruction

    @field_validator("lengths")
    @classmethod
    def _some_tokens(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if any(length < 32 for length in lengths):
            raise ValueError("expected 32 tokens or more")
        return lengths

    @field_validator("depths")
    @classmethod
    def _within(cls, depths: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= depth <= 1 for depth in depths):
            raise ValueError("expected numbers from 0 to 1")
        return depths

    @field_validator("task")
    @classmethod
    def _known(cls, name: str) -> str:
        from models.evaluation.tasks import TASKS

        if name not in TASKS:
            raise ValueError(f"no such task; there are {', '.join(TASKS)}")
        return name


class YardstickSettings(BaseModel, extra="forbid", frozen=True):
    """The n-gram models that stand beside the model's bits per byte."""

    enabled: bool = Field(default=True, description="train them on the token store's training split")
    order: int = Field(default=5, ge=2, le=8, description="n of the n-gram model; a unigram model comes with it")
    max_tokens: int = Field(
        default=4_000_000, ge=1000, description="training tokens at most: whole documents, evenly over the split"
    )


class RunSettings(BaseModel, extra="forbid", frozen=True):
    """How requests are run."""

    actors: int = Field(default=2, ge=1, description="processes that hold the model")
    gpus_per_actor: float = Field(
        default=0, ge=0, description="GPUs each asks Ray for; 0: it computes on CPUs, also where a machine has GPUs"
    )
    max_context: int | None = Field(
        default=None, ge=16, description="tokens the model sees at most, as many as in training; its positions if none"
    )
    token_budget: int = Field(default=4096, ge=64, description="tokens of a batch, padding included")
