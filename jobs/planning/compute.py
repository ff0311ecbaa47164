"""Operations of a training and the time they take."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.planning.hardware import PER_NODE, Hardware
from jobs.planning.shape import Shape
from models.training.batch import Steps
from models.training.settings import TrainingSettings

MFU = 0.40
"""Share of the peak that training is assumed to reach, recomputation not counted: published runs reach 0.3 to 0.5."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step.

    Attributes:
        computing: forward and backward passes.
        exchanging: weights and gradients between workers.
        updating: the optimizer's, and copies between buffers, where they are not part of the efficiency.
        overlapping: exchange goes on while there is computing.
    """

    computing: float
    exchanging: float
    updating: float
    overlapping: bool

    @property
    def seconds(self) -> float:
        """Of the step."""
        if self.overlapping:
            return max(self.computing, self.exchanging) + self.updating
        return self.computing + self.exchanging + self.updating


def training_flops(shape: Shape, training: TrainingSettings) -> float:
    """Of the whole budget, without what is computed again: `ModelSettings.flops_per_token` times tokens."""
    tokens = Steps.of(training).samples * training.sequence_length
    return shape.settings.flops_per_token(training.sequence_length) * tokens


def step_flops(shape: Shape, training: TrainingSettings) -> float:
    """Of one step, with a second forward pass of the blocks where activations are computed again."""
    length = training.sequence_length
    per_token = shape.settings.flops_per_token(length)
    if training.checkpoint_activations:
        per_token += (per_token - 6.0 * shape.embedding) / 3
    return per_token * training.tokens_per_step


@dataclass(frozen=True)
class Exchange:
    """Bytes that a worker sends in a step, in rings.

    Attributes:
        summed: gradients, whole on all workers afterwards.
        gathered: weights.
        scattered: gradients, of which each worker has its part afterwards.
    """

    summed: float = 0.0
    gathered: float = 0.0
    scattered: float = 0.0


def exchanged(shape: Shape, training: TrainingSettings, workers: int, micro_batches: int) -> Exchange:
    """What a worker sends in a step.

    Gradients go in fp32. ZeRO 0 to 2 sum them whole on all workers (ZeRO 2 after every micro batch), then 1 and 2
    gather the weights; ZeRO 3 gathers the weights for both passes of every micro batch, and scatters the sums.
    """
    if workers == 1:
        return Exchange()
    stage = training.zero_stage if training.engine == "deepspeed" else 0
    part = float(shape.parameters) * (workers - 1) / workers
    weight = 2.0 if training.precision == "bf16" and stage else 4.0
    if stage == 0:
        return Exchange(summed=2 * 4 * part)
    if stage < 3:
        sums = 1 if stage == 1 else micro_batches
        return Exchange(summed=2 * 4 * sums * part, gathered=weight * part)
    return Exchange(gathered=micro_batches * 2 * weight * part, scattered=micro_batches * 4 * part)


def copied(shape: Shape, training: TrainingSettings, workers: int, micro_batches: int) -> float:
    """Bytes that a worker reads and writes in a step to bring what is exchanged in a row.

    ZeRO 0 copies gradients into a buffer and back; 1 and 2 into one, with as many reductions as in `exchanged`. ZeRO 3
    does so twice, as it cuts them in parts, and joins the weights that were gathered for both passes.
    """
    if workers == 1:
        return 0.0
    stage = training.zero_stage if training.engine == "deepspeed" else 0
    weight = 2.0 if training.precision == "bf16" and stage else 4.0
    gradients, weights = {
        0: (2, 0),
        1: (1, 0),
        2: (micro_batches, 0),
        3: (2 * micro_batches, 2 * micro_batches),
    }[stage]
    return 2.0 * (4.0 * gradients + weight * weights) * shape.parameters


def step_time(
    shape: Shape, training: TrainingSettings, workers: int, micro_batches: int, hardware: Hardware, efficiency: float
) -> StepTime | None:
    """Seconds of a step; None where the hardware's rate is not known.

    Args:
        shape: the network.
        training: how it is trained.
        workers: how many.
        micro_batches: that a worker runs in a step.
        hardware: of each.
        efficiency: share of the peak. On a GPU it covers the optimizer and copies; on a CPU, passes only.
    """
    if hardware.flops is None:
        return None
    computing = step_flops(shape, training) / (workers * hardware.flops * efficiency)
    sent = exchanged(shape, training, workers, micro_batches)
    exchanging = 0.0
    if rate := _exchange_rate(hardware, workers):
        exchanging = sent.summed / rate
        exchanging += sent.gathered / min(rate, hardware.gather or rate)
        exchanging += sent.scattered / min(rate, hardware.scatter or rate)
    updating = 0.0
    if not hardware.gpu and hardware.memory_bandwidth:
        # Weight, gradient and two moments are read; weight and moments written.
        share = 1 if training.zero_stage == 0 else workers
        touched = 28.0 * shape.parameters / share + copied(shape, training, workers, micro_batches)
        updating = touched / hardware.memory_bandwidth
    return StepTime(computing, exchanging, updating, hardware.gpu)


def _exchange_rate(hardware: Hardware, workers: int) -> float | None:
    """Bytes a second of a ring: over nodes it passes each node's network once."""
    rates = [hardware.link] + ([hardware.network] if workers > PER_NODE else [])
    known = [rate for rate in rates if rate is not None]
    return min(known) if known else None
