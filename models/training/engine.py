"""Engines: what turns micro batches into an optimizer step. Plain torch here, DeepSpeed in `deepspeed_engine`.

An engine holds the network and the optimizer of one worker. The loop calls `forward_backward` for each micro batch
of a step, then `step`. Losses are summed in nats; `scale` makes the sum over all workers and micro batches the mean
over the step's targets.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.network.documents import Documents
from models.network.sequence_parallel import SequenceGroup
from models.network.transformer import Transformer
from models.training.optimizers import Updater, parameter_groups
from models.training.pieces import WEIGHT, Piece
from models.training.settings import TrainingSettings

Batch = dict[str, np.ndarray]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>


@dataclass(frozen=True)
class StepOutcome:
    """What became of a step, on the device.

    Attributes:
        gradient_norm: fp32 scalar, global norm before clipping.
        applied: bool scalar; False: weights and optimizer state are as before the step.
    """

    gradient_norm: Tensor
    applied: Tensor


class Engine(Protocol):
    """What the loop needs of an engine."""

    device: torch.device
    network: Transformer

    def forward_backward(self, batch: Batch, scale: Tensor, last: bool = True) -> Tensor:
        """Accumulate the gradients of the batch's summed loss times `scale`; the sum in nats, detached.

        Args:
            batch: a micro batch.
            scale: fp32 scalar, what makes the sum over all of them a mean.
            last: whether it is the step's last one.

        Raises:
            OutOfMemory: it does not fit.
        """

    def step(self, learning_rate: float, bad: Tensor | None = None, largest_norm: Tensor | None = None) -> StepOutcome:
        """Clip, update, clear the gradients.

        Args:
            learning_rate: of the step.
            bad: bool scalar, whether to leave it out; None: not for this.
            largest_norm: scalar; a step whose gradients' norm is above it, or not finite, is left out too.
        """

    def evaluate(self, batch: Batch) -> Tensor:
        """The summed loss in nats, without gradients. All workers call it equally often."""

    @property
    def optimizer_steps(self) -> int:
        """Steps that the optimizer took; those left out do not count."""

    def pieces(self, own: bool) -> list[Piece]:
        """Weights (fp32, where there are such) and optimizer states in this worker's memory.

        Args:
            own: of what several workers hold, only this one's share: the workers' pieces make the whole state once.
        """

    def adopt(self, optimizer_steps: int) -> None:
        """Go by what was read into `pieces(own=False)`; called by all workers."""

    def state_dict(self) -> dict[str, Tensor]:
        """All weights on the CPU (rank 0; empty elsewhere). Called by all workers."""


class LossModule(nn.Module):
    """A network whose forward pass is its loss, for engines that hook the forward pass.

    Args:
        network: has `token_loss(input_ids, labels, documents) -> (sum of nats, count)`.
        autocast: compute in bf16 with fp32 weights.
    """

    def __init__(self, network: Transformer, autocast: bool) -> None:
        super().__init__()
        self.network = network
        # nn.Module types every attribute as a tensor or a module.
        self._token_loss = network.token_loss
        self._autocast = autocast

    def forward(self, input_ids: Tensor, labels: Tensor, documents: Documents | None) -> Tensor:
        """The summed loss in nats."""
        with torch.autocast(input_ids.device.type, torch.bfloat16, enabled=self._autocast):
            total, _ = self._token_loss(input_ids, labels, documents)
        return total


class OutOfMemory(RuntimeError):
    """A micro batch does not fit; the message says what to try."""

    def __init__(self, settings: TrainingSettings, rows: int) -> None:
        if rows > 1:
            advice = f"set training.micro_batch={rows // 2} (the batch of a step stays the same)"
        elif not settings.checkpoint_activations:
            advice = "set training.checkpoint_activations=true"
        else:
            advice = "lower training.sequence_length, or share sequences with training.sequence_parallel"
        super().__init__(
            f"out of memory in a micro batch of {rows} sequences of {settings.sequence_length} tokens: {advice}"
        )


@contextlib.contextmanager
def memory_watched(settings: TrainingSettings, batch: Batch) -> Iterator[None]:
    """Turn what torch raises for want of memory into `OutOfMemory`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(settings, len(batch["input_ids"])) from error
    except RuntimeError as error:
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(settings, len(batch["input_ids"])) from error


def prepare(network: Transformer, settings: TrainingSettings, device: torch.device) -> None:
    """Activation checkpointing and compilation of the blocks, as the settings ask; on a CPU, memory that is reused."""
    if device.type == "cpu":
        keep_freed_memory()
    if settings.checkpoint_activations:
        network.checkpoint_activations(True)
    wanted = settings.compile == "on" or (
        settings.compile == "auto" and device.type == "cuda" and settings.zero_stage < 3
    )
    if wanted:
        for block in network.model.layers:
            block.compile()


def keep_freed_memory() -> None:
    """Have glibc keep what tensors free, for the next step's tensors.

    By default large blocks go back to the system, and each page is cleared and mapped anew at its next use: a tenth of
    the time of products with large outputs. It holds for the main thread's arena: `fit` has workers use no other.
    Other C libraries are left as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(_MMAP_THRESHOLD, 2**30)


def to_device(
    batch: Batch, device: torch.device, group: SequenceGroup | None = None
) -> tuple[Tensor, Tensor, Documents | None]:
    """`input_ids` and `labels` as tensors there, and where the documents lie.

    Args:
        batch: whole sequences.
        device: where to.
        group: workers that share the sequences; only this one's part goes to the device.
    """
    mine = batch if group is None else group.part(batch)
    parts = (torch.from_numpy(mine[name]) for name in ("input_ids", "labels"))
    inputs, labels = (part.to(device, dtype=torch.int64, non_blocking=True) for part in parts)
    documents = Documents.of(batch["documents"]) if group is None else group.documents(batch["documents"])
    return inputs, labels, None if documents is None else documents.to(device)


def named_weights(module: LossModule) -> Iterator[tuple[str, nn.Parameter]]:
    """The network's own parameters under their names, each once."""
    yield from module.network.named_parameters()


def whole_pieces(module: LossModule, updater: Updater) -> Iterator[Piece]:
    """Weights and optimizer states where both are whole."""
    groups = {id(p): group for group in updater.param_groups for p in group["params"]}
    for name, parameter in named_weights(module):
        shape = tuple(parameter.shape)
        yield Piece(WEIGHT, name, shape, 0, parameter.detach().view(-1))
        if id(parameter) in groups:
            for kind, values in updater.states(parameter, groups[id(parameter)]).items():
                yield Piece(kind, name, shape, 0, values.view(-1))


class TorchEngine:
    """One process, plain torch. bf16 is autocast over fp32 weights.

    Args:
        network: what is trained.
        settings: optimizer and precision.
        device: where it runs.
    """

    def __init__(self, network: Transformer, settings: TrainingSettings, device: torch.device) -> None:
        self.device, self.network, self._settings = device, network.to(device), settings
        prepare(network, settings, device)
        self.module = LossModule(self.network, settings.precision == "bf16")
        self.optimizer = Updater(parameter_groups(self.network, settings), settings, device)

    def forward_backward(self, batch: Batch, scale: Tensor, last: bool = True) -> Tensor:
        """See `Engine`."""
        self.module.train()
        with memory_watched(self._settings, batch):
            total = self.module(*to_device(batch, self.device))
            (total * scale).backward()
        return total.detach()

    def step(self, learning_rate: float, bad: Tensor | None = None, largest_norm: Tensor | None = None) -> StepOutcome:
        """See `Engine`."""
        self.optimizer.expect(learning_rate, bad, largest_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepOutcome(self.optimizer.gradient_norm, self.optimizer.applied)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Tensor:
        """See `Engine`."""
        self.module.eval()
        with memory_watched(self._settings, batch):
            return self.module(*to_device(batch, self.device))

    @property
    def optimizer_steps(self) -> int:
        """See `Engine`."""
        return self.optimizer.steps

    def pieces(self, own: bool) -> list[Piece]:
        """See `Engine`."""
        return list(whole_pieces(self.module, self.optimizer))

    def adopt(self, optimizer_steps: int) -> None:
        """See `Engine`."""
        self.optimizer.steps = optimizer_steps

    def state_dict(self) -> dict[str, Tensor]:
        """See `Engine`."""
        return {name: p.detach().to("cpu", copy=True) for name, p in named_weights(self.module)}
