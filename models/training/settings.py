"""How a network is trained: one frozen settings object, the same for pretraining, proxies and finetuning."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

_OWNED_BY_US = {
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "optimizer",
    "scheduler",
    "bf16",
    "fp16",
}


class TrainingSettings(BaseModel, extra="forbid", frozen=True):
    """Budget, batch, optimizer, schedule, engine and records of one training run.

    Everything that is counted is counted in tokens of the whole world, so a recipe means the same at any number of
    workers: a step always sees the same `tokens_per_step` tokens.
    """

    tokens: int = Field(gt=0, description="training budget in tokens; rounded up to whole steps")
    tokens_per_step: int = Field(gt=0, description="global batch in tokens, the same at any number of workers")
    sequence_length: int = Field(gt=0, description="tokens a sequence")
    micro_batch: int = Field(
        default=8, gt=0, description="at most so many sequences a worker in one forward pass; the rest is accumulated"
    )

    learning_rate: float = Field(default=3e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(default=0.1, ge=0, description="decoupled; matrices only, never norms or biases")
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0, description="AdamW's epsilon")
    clip: float = Field(default=1.0, ge=0, description="largest global gradient norm; 0 = no clipping")
    warmup_fraction: float = Field(default=0.02, ge=0, lt=1, description="part of the budget with rising rate")
    schedule: Literal["wsd", "cosine", "linear", "constant"] = Field(
        default="wsd", description="learning rate over tokens: models/training/schedule.py"
    )
    decay_fraction: float = Field(default=0.3, ge=0, le=1, description="last part of the budget in which wsd decays")
    final_learning_rate_fraction: float = Field(default=0.0, ge=0, le=1, description="of the peak, at the end")

    engine: Literal["deepspeed", "torch"] = Field(default="deepspeed", description="torch: one worker, no DeepSpeed")
    zero_stage: Literal[0, 1, 2, 3] = Field(default=1, description="what DeepSpeed shards over the workers")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16 keeps fp32 master weights")
    deepspeed: dict[str, Any] = Field(
        default_factory=dict, description="raw DeepSpeed settings merged last; not those that groundwork owns"
    )
    workers: int = Field(default=1, ge=1, description="Ray Train workers, one process each")
    device: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="auto: GPUs when the cluster has them")
    threads: int = Field(default=1, ge=1, description="CPU threads of a CPU worker, and the CPUs it asks for")
    max_failures: int = Field(default=3, ge=-1, description="worker failures after which the run gives up; -1: never")

    checkpoint_every_steps: int = Field(default=0, ge=0, description="0: only at the end")
    keep_checkpoints: int = Field(default=2, ge=1, description="newest committed checkpoints that are kept")
    resume: bool = Field(default=True, description="continue from the newest committed checkpoint of this run")
    validate_every_steps: int = Field(default=0, ge=0, description="0: only at the end")
    validation_sequences: int = Field(default=128, ge=0, description="fixed validation sequences; 0: none")
    log_every_steps: int = Field(default=10, ge=1, description="steps between looks at the device and lines")
    max_bad_steps: int = Field(
        default=20, ge=1, description="steps in a row with a non-finite gradient after which the run fails"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingSettings:
        if self.tokens_per_step % self.sequence_length:
            raise ValueError(
                f"tokens_per_step {self.tokens_per_step} is no multiple of sequence_length {self.sequence_length}"
            )
        sequences = self.tokens_per_step // self.sequence_length
        if sequences % self.workers:
            raise ValueError(f"{sequences} sequences a step cannot be shared evenly by {self.workers} workers")
        if self.engine == "torch" and self.workers != 1:
            raise ValueError(f"engine torch has one worker, not {self.workers}; use engine deepspeed")
        if self.schedule == "wsd" and self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError("warmup_fraction + decay_fraction is more than 1")
        if owned := sorted(_OWNED_BY_US & self.deepspeed.keys()):
            raise ValueError(f"deepspeed: {', '.join(owned)} come(s) from the other training settings; remove here")
        return self

    @property
    def sequences_per_step(self) -> int:
        """Sequences in a global batch."""
        return self.tokens_per_step // self.sequence_length

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole budget."""
        return math.ceil(self.tokens / self.tokens_per_step)
