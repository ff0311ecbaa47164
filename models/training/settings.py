"""How a network is trained: one frozen settings object, the same for pretraining, proxies and finetuning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from models.training.batch import Steps

_OWNED_BY_US = {
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "optimizer",
    "scheduler",
    "bf16",
    "fp16",
    "sequence_parallel_size",
}


class RateFactors(BaseModel, extra="forbid", frozen=True):
    """Learning rates of what is no matrix of a block, as multiples of `learning_rate`."""

    embedding: float = Field(default=1.0, gt=0, description="the embedding matrix, and a tied output matrix")
    head: float = Field(default=1.0, gt=0, description="an output matrix of its own")
    vector: float = Field(default=1.0, gt=0, description="the norms' scales")


class MuonSettings(BaseModel, extra="forbid", frozen=True):
    """Muon (Jordan et al. 2024): momentum made orthogonal, for the blocks' matrices; all else stays with AdamW."""

    momentum: float = Field(default=0.95, ge=0, lt=1)
    nesterov: bool = Field(default=True)
    iterations: int = Field(default=5, ge=1, description="Newton-Schulz iterations a step")


class GuardSettings(BaseModel, extra="forbid", frozen=True):
    """What happens when a loss or gradient norm is not finite, or far above those before it.

    Such a step is left out. Many in a row: the run goes back to its newest checkpoint and past the samples of the bad
    window. Too many returns: it stops and says what it saw. Where the mixture changes, or a decay ends, a new window
    begins.
    """

    window: int = Field(default=128, ge=8, description="steps that a spike is measured against")
    deviations: float = Field(
        default=6.0, ge=0, description="standard deviations above the window's mean that make a spike; 0: none is one"
    )
    bad_steps: int = Field(default=20, ge=1, description="steps left out in a row after which the run goes back")
    rollbacks: int = Field(default=2, ge=0, description="returns to a checkpoint after which the run fails")


class RampStage(BaseModel, extra="forbid", frozen=True):
    """A smaller batch at the beginning."""

    tokens: int = Field(gt=0, description="up to this point of the budget")
    tokens_per_step: int = Field(gt=0, description="global batch in tokens until then")


class SamplesSettings(BaseModel, extra="forbid", frozen=True):
    """Texts that the network writes as it learns, into samples.jsonl."""

    prompts: tuple[str, ...] = Field(default=(), description="what it continues")
    every_steps: int = Field(default=0, ge=0, description="0: only at the end")
    tokens: int = Field(default=48, ge=1, description="at most so many each")
    temperature: float = Field(default=0.8, ge=0, description="0: always the likeliest token")


class TrainingSettings(BaseModel, extra="forbid", frozen=True):
    """Budget, batch, optimizer, schedule, engine and records of one training run.

    Everything that is counted is counted in tokens of the whole world, so a recipe means the same at any number of
    workers: a step always sees the same `tokens_per_step` tokens.
    """

    tokens: int = Field(gt=0, description="training budget in tokens; rounded up to whole steps")
    tokens_per_step: int = Field(gt=0, description="global batch in tokens, the same at any number of workers")
    batch_ramp: tuple[RampStage, ...] = Field(default=(), description="smaller batches at the beginning, in order")
    sequence_length: int = Field(gt=0, description="tokens a sequence")
    micro_batch: int = Field(
        default=8, gt=0, description="at most so many sequences a worker in one forward pass; the rest is accumulated"
    )

    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", description="muon: Muon for the blocks' matrices, AdamW for the rest"
    )
    learning_rate: float = Field(default=3e-3, gt=0, description="peak learning rate")
    rates: RateFactors = Field(default=RateFactors(), description="learning rates of other parameters, in proportion")
    muon: MuonSettings = Field(default=MuonSettings(), description="Muon's own settings")
    weight_decay: float = Field(default=0.1, ge=0, description="decoupled; matrices only, never norms or biases")
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0, description="AdamW's epsilon")
    clip: float = Field(default=1.0, ge=0, description="largest global gradient norm; 0 = no clipping")
    warmup_fraction: float = Field(default=0.02, ge=0, lt=1, description="part of the budget with rising rate")
    schedule: Literal["wsd", "wsd_s", "cosine", "linear", "constant"] = Field(
        default="wsd", description="learning rate over tokens: models/training/schedule.py"
    )
    decay_fraction: float = Field(
        default=0.3, ge=0, le=1, description="wsd: last part of the budget that decays; wsd_s: of each period"
    )
    decays_at: tuple[int, ...] = Field(
        default=(),
        description="wsd_s: tokens at which a decay ends and the full rate comes back; the end is one",
    )
    final_learning_rate_fraction: float = Field(default=0.0, ge=0, le=1, description="of the peak, at the end")
    guard: GuardSettings = Field(default=GuardSettings(), description="bad losses and gradients")

    engine: Literal["deepspeed", "torch"] = Field(default="deepspeed", description="torch: one worker, no DeepSpeed")
    zero_stage: Literal[0, 1, 2, 3] = Field(default=1, description="what DeepSpeed shards over the workers")
    offload: Literal["none", "optimizer", "all"] = Field(
        default="none", description="what waits in the CPU's memory: optimizer states, or (ZeRO 3) parameters too"
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16 keeps fp32 master weights")
    checkpoint_activations: bool = Field(
        default=False, description="keep each block's input only and compute the rest again going back"
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto", description="torch.compile of each block; auto: on GPUs, where ZeRO is below 3"
    )
    sequence_parallel: int = Field(
        default=1, ge=1, description="workers that share each sequence (Ulysses); divides workers and heads"
    )
    deepspeed: dict[str, Any] = Field(
        default_factory=dict, description="raw DeepSpeed settings merged last; not those that groundwork owns"
    )
    workers: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        default=1,
        description="Ray Train workers, one process each; [fewest, most]: as many as the cluster has room for, also "
        "when that changes",
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto",
        description="auto: GPUs where the cluster has one for each of the fewest workers, or by its file or "
        "GROUNDWORK_LIMITS can bring them; else CPUs",
    )
    threads: int = Field(default=1, ge=1, description="CPU threads of a CPU worker, and the CPUs it asks for")
    max_failures: int = Field(default=3, ge=-1, description="worker failures after which the run gives up; -1: never")
    max_preemptions: int = Field(
        default=-1, ge=-1, description="the same for machines that were taken away with a notice"
    )
    hang_seconds: float = Field(
        default=600.0,
        ge=0,
        description="a worker in which nothing moves for so long is ended and started anew; 0: never",
    )

    checkpoint_every_steps: int = Field(default=0, ge=0, description="0: only at the end")
    checkpoint_every_seconds: float = Field(
        default=0.0, ge=0, description="besides, when so much time has passed since the last; 0: never"
    )
    keep_checkpoints: int = Field(default=2, ge=1, description="newest committed checkpoints that are kept")
    milestone_every_steps: int = Field(default=0, ge=0, description="checkpoints at these steps are kept for good")
    resume: bool = Field(default=True, description="continue from the newest committed checkpoint of this run")
    validate_every_steps: int = Field(default=0, ge=0, description="0: only at the end")
    validation_sequences: int = Field(default=128, ge=0, description="fixed validation sequences; 0: none")
    samples: SamplesSettings = Field(default=SamplesSettings(), description="texts written as it learns")
    log_every_steps: int = Field(default=10, ge=1, description="steps between looks at the device and lines")
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        default=(), description="where figures go besides metrics.jsonl; tensorboard: below the run directory"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingSettings:
        for name, tokens in [("tokens_per_step", self.tokens_per_step)] + [
            (f"batch_ramp.{i}.tokens_per_step", stage.tokens_per_step) for i, stage in enumerate(self.batch_ramp)
        ]:
            if tokens % self.sequence_length:
                raise ValueError(f"{name} {tokens} is no multiple of sequence_length {self.sequence_length}")
            sequences = tokens // self.sequence_length
            if sequences % self.data_workers:
                raise ValueError(f"{sequences} sequences a step cannot be shared evenly by {self.data_workers} workers")
        if self.fewest_workers > self.most_workers:
            raise ValueError(f"workers [{self.fewest_workers}, {self.most_workers}]: expected [fewest, most]")
        if self.elastic and self.sequence_parallel > 1:
            raise ValueError(f"workers that share sequences are a fixed number, not {self.workers_in_words}")
        if self.most_workers % self.sequence_parallel or self.sequence_length % self.sequence_parallel:
            raise ValueError(
                f"sequence_parallel {self.sequence_parallel} divides workers {self.most_workers} and sequence_length "
                f"{self.sequence_length}, or it cannot be"
            )
        ends = [stage.tokens for stage in self.batch_ramp]
        if ends != sorted(set(ends)):
            raise ValueError("batch_ramp: the stages' tokens rise from one to the next")
        if self.engine == "torch" and self.most_workers != 1:
            raise ValueError(f"engine torch has one worker, not {self.workers_in_words}; use engine deepspeed")
        if self.offload != "none" and (self.engine != "deepspeed" or self.zero_stage == 0):
            raise ValueError("offload needs engine deepspeed and a zero_stage from 1 on")
        if self.offload == "all" and self.zero_stage != 3:
            raise ValueError(f"offload all moves parameters too, which needs zero_stage 3, not {self.zero_stage}")
        if self.schedule == "wsd" and self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError("warmup_fraction + decay_fraction is more than 1")
        if self.decays_at and self.schedule != "wsd_s":
            raise ValueError("decays_at belongs to the schedule wsd_s")
        if list(self.decays_at) != sorted(set(self.decays_at)) or any(not 0 < t < self.tokens for t in self.decays_at):
            raise ValueError(f"decays_at: expected rising numbers of tokens below {self.tokens}")
        if owned := sorted(_OWNED_BY_US & self.deepspeed.keys()):
            raise ValueError(f"deepspeed: {', '.join(owned)} come(s) from the other training settings; remove here")
        return self

    @property
    def fewest_workers(self) -> int:
        """With fewer it waits."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """It wants so many."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    @property
    def elastic(self) -> bool:
        """Whether their number may change."""
        return self.fewest_workers < self.most_workers

    @property
    def workers_in_words(self) -> str:
        """`1 worker`, `2 to 8 workers`."""
        span = f"{self.fewest_workers} to {self.most_workers}" if self.elastic else f"{self.most_workers}"
        return f"{span} worker{'s'[: self.most_workers != 1]}"

    @property
    def data_workers(self) -> int:
        """Workers that read samples of their own, when all are there: those that share sequences count once."""
        return max(1, self.most_workers // self.sequence_parallel)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole budget."""
        return Steps.of(self).total

    @property
    def samples_drawn(self) -> int:
        """Sequences of the whole budget."""
        return Steps.of(self).samples
