"""The DeepSpeed engine: ZeRO 0 to 3, fp32 or bf16 with fp32 master weights, checkpoints by shard.

DeepSpeed's settings are generated from ours. It averages gradients over workers, so losses are scaled by the number
of workers to make the sum over all of them the mean over the step's targets.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.network.sequence_parallel import SequenceGroup, share_sequences
from models.network.transformer import Transformer
from models.training.batch import BatchPlan
from models.training.engine import (
    Batch,
    LossModule,
    StepOutcome,
    memory_watched,
    named_weights,
    prepare,
    to_device,
    whole_pieces,
)
from models.training.initial import Fill, one_by_one
from models.training.optimizers import Updater, parameter_groups
from models.training.pieces import WEIGHT, Piece, share
from models.training.settings import TrainingSettings

_Place = tuple[dict[str, Any], int, Tensor, int, int]
"""The optimizer's group, the first element of the parameter, and the vector, offset and size where it is from there."""
_LARGEST_BUCKET = 200_015_872
_BUCKET_MULTIPLE = 1 << 16


def deepspeed_config(settings: TrainingSettings, world: int, parameters: int, gpu: bool) -> dict[str, Any]:
    """DeepSpeed's settings for a run.

    Args:
        settings: ours; `settings.deepspeed` is merged last.
        world: number of workers.
        parameters: of the network: communication buffers need not be larger.
        gpu: whether the workers compute on GPUs.
    """
    stage = settings.zero_stage
    zero: dict[str, Any] = {"stage": stage}
    if stage:
        # DeepSpeed wants an even number for each worker's part.
        bucket = min(_LARGEST_BUCKET, -(-parameters // _BUCKET_MULTIPLE) * _BUCKET_MULTIPLE)
        zero |= {"reduce_bucket_size": bucket, "contiguous_gradients": True, "overlap_comm": gpu and world > 1}
        if stage < 3:
            zero["allgather_bucket_size"] = bucket
        elif settings.optimizer == "muon":
            # Matrices are put together from one vector a worker.
            zero["sub_group_size"] = 10**15
    if settings.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": gpu}
    if settings.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": gpu}
    # The numbers of sequences are ours (`BatchPlan`); DeepSpeed only wants them to agree.
    config: dict[str, Any] = {
        "train_batch_size": world,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # Ours clips.
        "gradient_clipping": 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "steps_per_print": 1_000_000_000,
        # It would wait for the device twice a step.
        "timers": {"throughput": {"enabled": False}},
    }
    if _half(settings):
        # Not finite gradients are left out by our optimizer; DeepSpeed would read back whether there are any.
        config["bf16"] = {"enabled": True, "check_grad_overflow": False, "immediate_grad_update": True}
    return _merged(config, settings.deepspeed)


def _half(settings: TrainingSettings) -> bool:
    """Whether DeepSpeed keeps weights in bf16 beside fp32 masters. With ZeRO 0 bf16 is autocast over fp32 weights."""
    return settings.precision == "bf16" and settings.zero_stage > 0


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _deepspeed(device: torch.device) -> Any:
    """The package, told not to build its C++ operators: a minute on each machine, for nothing that is used here.

    Args:
        device: where this worker computes.
    """
    if device.type == "cpu":
        # Left to itself it takes a GPU that the machine has, though Ray gave this worker none.
        os.environ["DS_ACCELERATOR"] = "cpu"
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
        import deepspeed.ops
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # Its own Muon, which is not used here, is read with it, and has torch's compiler read: a second of every start.
    compiler, torch.compile = torch.compile, _as_it_is  # type: ignore[assignment]
    try:
        import deepspeed.runtime.zero.muon.muon_optimizer
    finally:
        torch.compile = compiler
    import logging

    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    return deepspeed


def _as_it_is(function: Any = None, **_: Any) -> Any:
    """In the place of torch.compile, called or as a decorator with arguments."""
    return function if function is not None else _as_it_is


class _Arriving(nn.Module):
    """Parameters that DeepSpeed asks for one after another, and cuts up each before it asks for the next."""

    def __init__(self, parameters: Iterator[nn.Parameter]) -> None:
        super().__init__()
        self._arriving = parameters

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Each once."""
        return self._arriving


class DeepSpeedEngine:
    """One worker of a DeepSpeed group; torch.distributed is initialised before.

    The optimizer is ours; DeepSpeed steps it over this worker's parts of weights and gradients, which are summed but
    not clipped before.

    Args:
        network: what is trained; with ZeRO 3 its parameters may be on the meta device.
        settings: optimizer, precision, ZeRO stage.
        device: where it runs.
        plan: the batch plan of this world size.
        weights: what parameters on the meta device begin with; of the first worker, whose values all share.
    """

    def __init__(
        self,
        network: Transformer,
        settings: TrainingSettings,
        device: torch.device,
        plan: BatchPlan,
        weights: Fill | None = None,
    ) -> None:
        deepspeed = _deepspeed(device)
        self._deepspeed, self.device, self.network, self._settings = deepspeed, device, network, settings
        self._stage, self._world, self._group = settings.zero_stage, plan.world, None
        if settings.sequence_parallel > 1:
            self._group = SequenceGroup.join(settings.sequence_parallel)
            share_sequences(network, self._group)
        module = LossModule(network, settings.precision == "bf16" and not _half(settings))
        parameters = sum(p.numel() for p in module.parameters())
        config = deepspeed_config(settings, plan.world, parameters, device.type == "cuda")
        groups = parameter_groups(network, settings)
        self._updater = Updater(groups, settings, device, self._stage, dist.get_rank(), plan.world)
        if self._stage == 3:
            # Parameter by parameter; left to itself, DeepSpeed takes the whole network to the device first.
            deepspeed.init_distributed()
            precision = torch.bfloat16 if _half(settings) else torch.float32
            arriving = _Arriving(one_by_one(network, weights, precision, device))
            deepspeed.zero.Init(module=arriving, config_dict_or_path=config, dtype=precision)
        # Not before: on a CPU, memory that whole parameters leave would be kept in pieces too small for the next ones.
        prepare(network, settings, device)
        self.engine, *_ = deepspeed.initialize(model=module, optimizer=self._updater, config=config)
        if self._stage:
            # DeepSpeed works it out before it steps the optimizer for the first group.
            self._updater.norm_of = lambda: self.engine.optimizer._global_grad_norm

    def forward_backward(self, batch: Batch, scale: Tensor, last: bool = True) -> Tensor:
        """See `Engine`."""
        self.engine.train()
        self.engine.set_gradient_accumulation_boundary(last)
        with memory_watched(self._settings, batch):
            total = self.engine(*to_device(batch, self.device, self._group))
            self.engine.backward(total * (scale * self._world), scale_wrt_gas=False)
        return total.detach()

    def step(self, learning_rate: float, bad: Tensor | None = None, largest_norm: Tensor | None = None) -> StepOutcome:
        """See `Engine`.

        With ZeRO 1 and 3, with offload, and in fp32 with ZeRO 2, DeepSpeed reads the gradients' norm back and leaves
        out what is not finite before it comes to our optimizer. With ZeRO 0, and in bf16 with ZeRO 2, nothing waits.
        """
        self._updater.expect(learning_rate, bad, largest_norm)
        self.engine.step()
        return StepOutcome(self._updater.gradient_norm, self._updater.applied)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Tensor:
        """See `Engine`."""
        self.engine.eval()
        with memory_watched(self._settings, batch):
            return self.engine(*to_device(batch, self.device, self._group))

    @property
    def optimizer_steps(self) -> int:
        """See `Engine`."""
        return self._updater.steps

    def pieces(self, own: bool) -> list[Piece]:
        """See `Engine`."""
        if self._stage == 0:
            found = list(whole_pieces(self.engine.module, self._updater))
            return [share(piece, dist.get_rank(), self._world) for piece in found] if own else found
        located = self._in_stage_3 if self._stage == 3 else self._in_a_row
        pieces = []
        for name, parameter in named_weights(self.engine.module):
            shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
            for group, start, flat, at, size in located(parameter):
                kinds = {WEIGHT: flat, **self._updater.states(flat, group)}
                pieces += [
                    Piece(kind, name, shape, start, values.detach().narrow(0, at, size))
                    for kind, values in kinds.items()
                ]
        return pieces

    def _in_a_row(self, parameter: Any) -> Iterator[_Place]:
        """ZeRO 1 and 2: a group's parameters stand one after another in a vector that is cut in as many parts as there
        are workers."""
        mapping = parameter._hp_mapping
        if mapping is not None:
            group = self._updater.param_groups[mapping.param_group_index]
            here = mapping.get_hp_fragment_address()
            yield group, mapping.lp_fragment_address.start, group["params"][0], here.start, here.numel

    def _in_stage_3(self, parameter: Any) -> Iterator[_Place]:
        """ZeRO 3: each parameter is cut in as many parts as there are workers; the last ones may be filled up."""
        zero = self.engine.optimizer
        subgroup, at, size = zero.grad_position[zero.get_param_id(parameter)]
        start = dist.get_rank() * size
        size = min(size, parameter.ds_numel - start)
        if size > 0:
            flat = zero.fp32_partitioned_groups_flat[subgroup]
            group = self._updater.param_groups[zero.sub_group_to_group_id[subgroup]]
            yield group, start, flat, at, size

    def adopt(self, optimizer_steps: int) -> None:
        """See `Engine`."""
        self._updater.steps = optimizer_steps
        zero = self.engine.optimizer
        if self._stage in (1, 2):
            zero.update_lp_params()
        elif self._stage == 3:
            zero.checkpoint_event_prologue()
            flats = zip(zero.fp16_partitioned_groups_flat, zero.fp32_partitioned_groups_flat, strict=True)
            for (working, master), parts in zip(flats, zero.fp16_partitioned_groups, strict=True):
                working.data.copy_(master.data)
                for part, values in zip(parts, zero.unflatten(working, parts), strict=True):
                    part.data = values.data
            zero.checkpoint_event_epilogue()

    def state_dict(self) -> dict[str, Tensor]:
        """See `Engine`. Where weights are bf16, these are their fp32 masters."""
        first = self.engine.global_rank == 0
        weights: dict[str, Tensor] = {}
        for name, parameter in named_weights(self.engine.module):
            if _half(self._settings):
                whole = self._deepspeed.utils.safe_get_full_fp32_param(parameter)
                if first:
                    weights[name] = whole.to("cpu", copy=True)
            elif self._stage == 3:
                with self._deepspeed.zero.GatheredParameters([parameter]):
                    if first:
                        weights[name] = parameter.detach().to("cpu", copy=True)
            elif first:
                weights[name] = parameter.detach().to("cpu", copy=True)
        return weights
