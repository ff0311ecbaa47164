"""The DeepSpeed engine: ZeRO 0 to 3, fp32 or bf16 with fp32 master weights, checkpoints by shard.

DeepSpeed's settings are generated from ours. It averages gradients over workers, so losses are scaled by the number
of workers to make the sum over all of them the mean over the step's targets.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from models.training.batch import BatchPlan
from models.training.engine import (
    Batch,
    GuardedAdamW,
    LossModule,
    StepOutcome,
    named_weights,
    parameter_groups,
    to_device,
)
from models.training.settings import TrainingSettings

_TAG = "state"
_LARGEST_BUCKET = 200_015_872
_BUCKET_MULTIPLE = 1 << 16


def deepspeed_config(settings: TrainingSettings, plan: BatchPlan, parameters: int) -> dict[str, Any]:
    """DeepSpeed's settings for a run.

    Args:
        settings: ours; `settings.deepspeed` is merged last.
        plan: the batch plan of this world size.
        parameters: of the network: communication buffers need not be larger.
    """
    stage = settings.zero_stage
    zero: dict[str, Any] = {"stage": stage}
    if stage:
        # DeepSpeed wants an even number for each worker's part.
        bucket = min(_LARGEST_BUCKET, -(-parameters // _BUCKET_MULTIPLE) * _BUCKET_MULTIPLE)
        zero |= {"reduce_bucket_size": bucket, "contiguous_gradients": True, "overlap_comm": torch.cuda.is_available()}
        if stage < 3:
            zero["allgather_bucket_size"] = bucket
    config: dict[str, Any] = {
        "train_batch_size": plan.sequences,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "gradient_clipping": 0.0 if _own_optimizer(settings) else settings.clip,
        "zero_optimization": zero,
        "bf16": {"enabled": settings.precision == "bf16"},
        "steps_per_print": 1_000_000_000,
        "zero_allow_untested_optimizer": True,
    }
    return _merged(config, settings.deepspeed)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _own_optimizer(settings: TrainingSettings) -> bool:
    """ZeRO 0 in fp32 steps our optimizer directly; DeepSpeed has neither guard nor norm there."""
    return settings.zero_stage == 0 and settings.precision == "fp32"


def _deepspeed() -> Any:
    """The package, told not to build its C++ operators: a minute on each machine, for nothing that is used here."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
        import deepspeed.ops
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    import logging

    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
    return deepspeed


class DeepSpeedEngine:
    """One worker of a DeepSpeed group; torch.distributed is initialised before.

    Args:
        network: has `token_loss(input_ids, labels, documents) -> (sum of nats, count)`.
        settings: optimizer, precision, ZeRO stage.
        device: where it runs.
        plan: the batch plan of this world size.
    """

    def __init__(self, network: nn.Module, settings: TrainingSettings, device: torch.device, plan: BatchPlan) -> None:
        deepspeed = _deepspeed()
        self._deepspeed, self.device, self._stage, self._world = deepspeed, device, settings.zero_stage, plan.world
        module = LossModule(network)
        groups = parameter_groups(module, settings.weight_decay)
        options: dict[str, Any] = {
            "lr": settings.learning_rate,
            "betas": (settings.beta1, settings.beta2),
            "eps": settings.epsilon,
            "foreach": True,
        }
        self._guarded = GuardedAdamW(groups, clip=settings.clip, **options) if _own_optimizer(settings) else None
        optimizer = self._guarded or torch.optim.AdamW(groups, **options)
        parameters = sum(p.numel() for p in module.parameters())
        self.engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=deepspeed_config(settings, plan, parameters)
        )

    def forward_backward(self, batch: Batch, scale: Tensor) -> Tensor:
        """See `Engine`."""
        self.engine.train()
        total = self.engine(*to_device(batch, self.device))
        self.engine.backward(total * (scale * self._world), scale_wrt_gas=False)
        if not self.engine.is_gradient_accumulation_boundary():
            self.engine.step()
        return total.detach()

    def step(self, learning_rate: float) -> StepOutcome:
        """See `Engine`."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        skipped = self.engine.skipped_steps
        self.engine.step()
        applied = self.engine.skipped_steps == skipped
        norm = self._guarded.gradient_norm if self._guarded else self.engine.get_global_grad_norm()
        return StepOutcome(float(norm) if norm is not None else float("nan"), applied)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Tensor:
        """See `Engine`."""
        self.engine.eval()
        return self.engine(*to_device(batch, self.device))

    def save(self, directory: str) -> None:
        """See `Engine`."""
        self.engine.save_checkpoint(directory, tag=_TAG)

    def load(self, directory: str) -> None:
        """See `Engine`."""
        path, _ = self.engine.load_checkpoint(directory, tag=_TAG)
        if path is None:
            raise ValueError(f"{directory}: DeepSpeed finds no state there for ZeRO {self._stage}")

    def state_dict(self) -> dict[str, Tensor]:
        """See `Engine`."""
        first = self.engine.global_rank == 0
        weights: dict[str, Tensor] = {}
        for name, parameter in named_weights(self.engine.module):
            if self._stage == 3:
                with self._deepspeed.zero.GatheredParameters([parameter]):
                    if first:
                        weights[name] = parameter.detach().to("cpu", copy=True)
            elif first:
                weights[name] = parameter.detach().to("cpu", copy=True)
        return weights
