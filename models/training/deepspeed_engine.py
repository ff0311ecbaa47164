"""The DeepSpeed engine: ZeRO 0 to 3, fp32 or bf16 with fp32 master weights, checkpoints by shard.

DeepSpeed's settings are generated from ours. It averages gradients over workers, so losses are scaled by the number
of workers to make the sum over all of them the mean over the step's targets.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import Tensor

from models.network.transformer import Transformer
from models.training.batch import BatchPlan
from models.training.engine import Batch, LossModule, StepOutcome, memory_watched, named_weights, prepare, to_device
from models.training.optimizers import Updater, parameter_groups
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
    if settings.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if settings.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    # The numbers of sequences are ours (`BatchPlan`); DeepSpeed only wants them to agree.
    config: dict[str, Any] = {
        "train_batch_size": plan.world,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0 if _own_optimizer(settings) else settings.clip,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": settings.precision == "bf16"},
        "data_types": {"grad_accum_dtype": "fp32"},
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

    def __init__(self, network: Transformer, settings: TrainingSettings, device: torch.device, plan: BatchPlan) -> None:
        if settings.optimizer == "muon" and not _own_optimizer(settings):
            raise ValueError("optimizer muon needs whole matrices: engine torch, or zero_stage 0 in fp32, for now")
        deepspeed = _deepspeed()
        self._deepspeed, self.device, self.network, self._settings = deepspeed, device, network, settings
        self._stage, self._world, self._own = settings.zero_stage, plan.world, _own_optimizer(settings)
        prepare(network, settings, device)
        module = LossModule(network)
        self._updater = Updater(parameter_groups(network, settings), settings, partitioned=not self._own)
        parameters = sum(p.numel() for p in module.parameters())
        self.engine, *_ = deepspeed.initialize(
            model=module, optimizer=self._updater, config=deepspeed_config(settings, plan, parameters)
        )

    def forward_backward(self, batch: Batch, scale: Tensor, last: bool = True) -> Tensor:
        """See `Engine`."""
        self.engine.train()
        self.engine.set_gradient_accumulation_boundary(last)
        with memory_watched(self._settings, batch):
            total = self.engine(*to_device(batch, self.device))
            self.engine.backward(total * (scale * self._world), scale_wrt_gas=False)
        if not last:
            self.engine.step()
        return total.detach()

    def step(self, learning_rate: float, bad: Tensor | None = None) -> StepOutcome:
        """See `Engine`. DeepSpeed itself waits for the device here, to look for gradients that are not finite."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate * group["rate"]
        self._updater.bad = bad
        skipped = self.engine.skipped_steps
        self.engine.step()
        if self._own:
            return StepOutcome(self._updater.gradient_norm, self._updater.applied)
        norm = self.engine.get_global_grad_norm()
        applied = torch.tensor(self.engine.skipped_steps == skipped, device=self.device)
        if bad is not None:
            applied = applied & ~bad
        found = torch.as_tensor(float("nan") if norm is None else norm, dtype=torch.float32, device=self.device)
        return StepOutcome(found.reshape(()), applied)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Tensor:
        """See `Engine`."""
        self.engine.eval()
        return self.engine(*to_device(batch, self.device))

    def save(self, directory: str) -> None:
        """See `Engine`."""
        # DeepSpeed's workers wait for each other after writing: one that fails on the way would keep the others there.
        writer, errors = self.engine.checkpoint_engine, []
        write = writer.save

        def attempt(*arguments: Any, **named: Any) -> Any:
            try:
                return write(*arguments, **named)
            except (OSError, RuntimeError) as error:
                errors.append(error)

        writer.save = attempt
        try:
            self.engine.save_checkpoint(directory, tag=_TAG)
        finally:
            writer.save = write
        if errors:
            raise OSError(str(errors[0])) from errors[0]

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
