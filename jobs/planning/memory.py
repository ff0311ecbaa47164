"""Bytes a worker holds while it trains, by what they are and when: counted from the engine's code.

DeepSpeed's parts are those of its 0.19 (`runtime/zero/stage_1_and_2.py`, `stage3.py`), with the settings that
`models.training.deepspeed_engine` gives it. P parameters, w workers:

- ZeRO 0: weights, gradients and both moments whole, in fp32.
- ZeRO 1, 2: weights whole; fp32 masters and moments P/w (masters also where weights are fp32 themselves); fp32
  gradients between micro batches whole (1) or P/w (2); a bucket for those on their way.
- ZeRO 3: weights P/w, put together as layers need them, up to `stage3_max_live_parameters`; gradients P/w and a buffer
  of the largest group; a bucket that stays.

The peak is the largest of: the loss (all activations are there), the end of the backward pass (gradients are reduced),
the optimizer's step, and on CPUs the copy that a checkpoint is written from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.planning.activations import activations
from jobs.planning.hardware import Hardware
from jobs.planning.shape import Shape
from models.training.settings import TrainingSettings

_LIVE, _PREFETCH, _SUBGROUP, _FLAT = 1e9, 5e7, 1e9, 5e8
"""DeepSpeed's own settings, in elements, where nobody sets others: of ZeRO 3, and of the bucket of ZeRO 0."""

Bytes = dict[str, float]


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker.

    Attributes:
        phases: by phase, bytes by part.
        host: bytes of the machine's memory a worker where that is another one: the most of what it starts with
            (`starting`), and offloaded states with a checkpoint's copy.
        slack: share of the tensors' bytes that the allocator cannot use.
        context: bytes of the runtime.
        states: bytes of weights, gradients and optimizer states, wherever they are.
    """

    phases: dict[str, Bytes]
    host: float
    slack: float
    context: float
    states: Bytes = field(default_factory=dict)

    @property
    def phase(self) -> str:
        """Where the peak is."""
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))

    @property
    def parts(self) -> Bytes:
        """Bytes by part at the peak, the allocator's slack and the runtime included."""
        parts = dict(self.phases[self.phase])
        parts["allocator"] = self.slack * sum(parts.values())
        parts["runtime"] = self.context
        return parts

    @property
    def total(self) -> float:
        """Bytes at the peak."""
        return sum(self.parts.values())


def optimizer_bytes(shape: Shape, training: TrainingSettings) -> float:
    """Bytes of all optimizer states together, in fp32: AdamW's two moments, or one momentum of Muon's matrices."""
    muon = shape.matrices if training.optimizer == "muon" else 0
    return 8.0 * (shape.parameters - muon) + 4.0 * muon


def checkpoint_bytes(shape: Shape, training: TrainingSettings) -> float:
    """Bytes of a checkpoint: fp32 weights and optimizer states, each once."""
    return 4.0 * shape.parameters + optimizer_bytes(shape, training)


def memory(shape: Shape, training: TrainingSettings, workers: int, hardware: Hardware, rows: int) -> Memory:
    """What a worker holds.

    Args:
        shape: the network.
        training: how it is trained; its `workers` and `micro_batch` are not looked at.
        workers: that share the states.
        hardware: a GPU, or a CPU.
        rows: sequences of a micro batch.
    """
    stage = training.zero_stage if training.engine == "deepspeed" else 0
    sequences = training.tokens_per_step // training.sequence_length
    share = -(-sequences * training.sequence_parallel // workers)
    accumulates = share > rows
    states = _states(shape, training, workers, stage)
    buckets = _buckets(shape, training, workers, hardware, stage)
    moved = _offloaded(shape, training, workers, stage, accumulates)
    copied = checkpoint_bytes(shape, training) / workers
    device = {name: size for name, size in states.items() if name not in moved}
    if not hardware.gpu:
        # The CPU's memory is the device's too.
        device |= moved
    elif moved and stage < 3:
        device["offload buffers"] = (2.0 if _half(training, stage) else 4.0) * shape.largest
    between = device.pop("gradients", 0.0)
    acts = activations(shape, training, rows, hardware, stage == 3)
    held = between if accumulates or stage == 3 or moved else 0.0
    fetched = buckets.pop("fetched", 0.0)
    reducing = buckets.pop("reducing", 0.0)
    filling = buckets.pop("filling", 0.0)
    # ZeRO 1's own gradients move into the bucket.
    left = max(0.0, between - filling) if stage == 1 and not moved else between
    at_loss = device | {
        "gradients": held,
        "activations": acts.kept,
        "logits": acts.loss,
        "buckets": buckets["staying"] + fetched + (filling if hardware.gpu else 0.0),
    }
    going_back = at_loss | {
        "activations": acts.kept + acts.layer + acts.working,
        "logits": acts.loss_kept,
    }
    reduced = device | {
        "gradients": left,
        "activations": acts.working,
        "logits": 0.0,
        "buckets": buckets["staying"] + filling + reducing,
    }
    # Where states are offloaded from a GPU, the step is not taken there.
    part = 0.0 if moved and hardware.gpu else 4.0 * shape.parameters / (1 if stage == 0 else workers)
    stepping = device | {
        "gradients": between if moved or stage == 3 else part,
        "activations": 0.0,
        "logits": 0.0,
        "buckets": buckets["staying"] + ((2 if moved else 1) * part if stage else 0.0),
    }
    phases = {"loss": at_loss, "backward": going_back, "reduction": reduced, "step": stepping}
    if not hardware.gpu:
        phases["checkpoint"] = device | {
            "gradients": between if moved or stage == 3 else 0.0,
            "activations": 0.0,
            "logits": 0.0,
            "buckets": buckets["staying"],
            "checkpoint": copied,
        }
    host = max(starting(shape, training), sum(moved.values()) + copied) if hardware.gpu else 0.0
    return Memory(phases, host, hardware.slack, hardware.context, states)


def starting(shape: Shape, training: TrainingSettings) -> float:
    """Bytes of the machine's memory until the weights are on a worker's GPU: all of them in fp32, or with ZeRO 3 one
    matrix after another, in fp32 and as it goes there (`models.training.initial`)."""
    stage = training.zero_stage if training.engine == "deepspeed" else 0
    if stage < 3:
        return 4.0 * shape.parameters
    return (6.0 if _half(training, stage) else 4.0) * shape.largest


def _half(training: TrainingSettings, stage: int) -> bool:
    return training.precision == "bf16" and stage > 0


def _states(shape: Shape, training: TrainingSettings, workers: int, stage: int) -> Bytes:
    """Weights, gradients and optimizer states of a worker, wherever they are."""
    count, weight = float(shape.parameters), 2.0 if _half(training, stage) else 4.0
    moments = optimizer_bytes(shape, training)
    if stage == 0:
        copies = 2.0 * shape.matrices if training.precision == "bf16" else 0.0
        return {"parameters": 4 * count + copies, "gradients": 4 * count, "optimizer": moments}
    masters = 4 * count / workers
    return {
        "parameters": weight * count / (workers if stage == 3 else 1),
        "gradients": 4 * count / (1 if stage == 1 else workers),
        "optimizer": masters + moments / workers,
    }


def _offloaded(shape: Shape, training: TrainingSettings, workers: int, stage: int, accumulates: bool) -> Bytes:
    """What is in the machine's memory: gradients as the optimizer takes them, and their sums over micro batches."""
    if training.offload == "none":
        return {}
    count, weight = float(shape.parameters), 2.0 if _half(training, stage) else 4.0
    part = count / workers
    moved = {"optimizer": 4 * part + optimizer_bytes(shape, training) / workers}
    if stage == 3:
        moved["gradients"] = 8 * part
        if training.offload == "all":
            moved["parameters"] = weight * part
        return moved
    moved["gradients"] = (8 if accumulates else 4) * part
    moved["offload buffers"] = weight * part + 2 * weight * shape.largest
    return moved


def _buckets(shape: Shape, training: TrainingSettings, workers: int, hardware: Hardware, stage: int) -> Bytes:
    """Buffers: those that stay, those of a backward pass (`filling`), those of a reduction, weights put together."""
    count, half = float(shape.parameters), _half(training, stage)
    if training.engine == "torch" or (workers == 1 and stage == 0):
        return {"staying": 0.0}
    if stage == 0:
        return {"staying": 0.0, "reducing": 4 * min(_FLAT, count)}
    from models.training.deepspeed_engine import deepspeed_config

    zero = deepspeed_config(training, workers, shape.parameters, hardware.gpu)["zero_optimization"]
    bucket = float(zero["reduce_bucket_size"])
    if stage == 3:
        weight = 2.0 if half else 4.0
        live = min(count, zero.get("stage3_max_live_parameters", _LIVE))
        ahead = min(count - shape.embedding, zero.get("stage3_prefetch_bucket_size", _PREFETCH))
        group = min(count / workers, zero.get("sub_group_size", _SUBGROUP))
        staying = 4 * bucket + 4 * group
        return {
            "staying": staying,
            "fetched": weight * (live + max(0.0, ahead)),
            "reducing": 4 * bucket * (1 + 1 / workers),
        }
    element = 4.0 if stage == 1 or not half else 2.0
    double = 2 if hardware.gpu and workers > 1 and zero["overlap_comm"] else 1
    return {"staying": 0.0, "filling": element * bucket * double, "reducing": 4 * bucket}
