"""Engines: what turns micro batches into an optimizer step. Plain torch here, DeepSpeed in `deepspeed_engine`.

An engine holds the network and the optimizer of one worker. The loop calls `forward_backward` for each micro batch
of a step, then `step`. Losses are summed in nats; `scale` makes the sum over all workers and micro batches the mean
over the step's targets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.training.settings import TrainingSettings

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class StepOutcome:
    """What became of a step.

    Attributes:
        gradient_norm: global norm before clipping; not finite when the step was left out.
        applied: False when a gradient was not finite: weights and optimizer state are as before the step.
    """

    gradient_norm: float
    applied: bool


class Engine(Protocol):
    """What the loop needs of an engine."""

    device: torch.device

    def forward_backward(self, batch: Batch, scale: Tensor) -> Tensor:
        """Accumulate the gradients of the batch's summed loss times `scale`; the sum in nats, detached."""

    def step(self, learning_rate: float) -> StepOutcome:
        """Clip, update, clear the gradients; leaves out a step whose gradients are not finite."""

    def evaluate(self, batch: Batch) -> Tensor:
        """The summed loss in nats, without gradients. All workers call it equally often."""

    def save(self, directory: str) -> None:
        """Write this worker's part of the state; called by all workers with the same directory."""

    def load(self, directory: str) -> None:
        """Read what `save` wrote with the same engine and number of workers."""

    def state_dict(self) -> dict[str, Tensor]:
        """All weights on the CPU (rank 0; empty elsewhere). Called by all workers."""


class LossModule(nn.Module):
    """A network whose forward pass is its loss, for engines that hook the forward pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        # nn.Module types every attribute as a tensor or a module.
        self._token_loss: Callable[..., tuple[Tensor, Any]] = network.token_loss  # type: ignore[assignment]

    def forward(self, input_ids: Tensor, labels: Tensor, documents: Tensor) -> Tensor:
        """The summed loss in nats."""
        total, _ = self._token_loss(input_ids, labels, documents)
        return total


class GuardedAdamW(torch.optim.AdamW):
    """AdamW that clips by the global norm and leaves out steps whose norm is not finite.

    After `step`, `gradient_norm` is the norm before clipping and `overflow` tells whether the step was left out.
    """

    def __init__(self, groups: list[dict[str, Any]], clip: float, **options: Any) -> None:
        super().__init__(groups, **options)
        self.clip, self.overflow, self.gradient_norm = clip, False, 0.0

    # torch's returns the closure's loss; no engine has a closure.
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Clip and update, or leave it out."""
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self.gradient_norm = float(norm)
        self.overflow = not np.isfinite(self.gradient_norm)
        if self.overflow:
            return
        if self.clip > 0:
            factor = torch.clamp(self.clip / (norm + 1e-6), max=1.0)
            torch._foreach_mul_(gradients, factor)
        super().step()


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; norms' scales and other vectors do not."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """`input_ids`, `labels` and `documents` as tensors there."""
    parts = (torch.from_numpy(batch[name]) for name in ("input_ids", "labels", "documents"))
    tensors = [part.to(device, dtype=torch.int64, non_blocking=True) for part in parts]
    return tensors[0], tensors[1], tensors[2]


def named_weights(module: LossModule) -> Iterator[tuple[str, nn.Parameter]]:
    """The network's own parameters under their names, each once."""
    yield from module.network.named_parameters()


class TorchEngine:
    """One process, plain torch. bf16 is autocast over fp32 weights.

    Args:
        network: has `token_loss(input_ids, labels, documents) -> (sum of nats, count)`.
        settings: optimizer and precision.
        device: where it runs.
    """

    def __init__(self, network: nn.Module, settings: TrainingSettings, device: torch.device) -> None:
        self.device = device
        self.module = LossModule(network.to(device))
        self.optimizer = GuardedAdamW(
            parameter_groups(self.module, settings.weight_decay),
            clip=settings.clip,
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            foreach=True,
        )
        self._autocast = settings.precision == "bf16"

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            return self.module(*to_device(batch, self.device))

    def forward_backward(self, batch: Batch, scale: Tensor) -> Tensor:
        """See `Engine`."""
        self.module.train()
        total = self._loss(batch)
        (total * scale).backward()
        return total.detach()

    def step(self, learning_rate: float) -> StepOutcome:
        """See `Engine`."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepOutcome(self.optimizer.gradient_norm, not self.optimizer.overflow)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Tensor:
        """See `Engine`."""
        self.module.eval()
        return self._loss(batch)

    def save(self, directory: str) -> None:
        """See `Engine`."""
        state = {"weights": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, os.path.join(directory, "torch_engine.pt"))

    def load(self, directory: str) -> None:
        """See `Engine`."""
        path = os.path.join(directory, "torch_engine.pt")
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.module.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])

    def state_dict(self) -> dict[str, Tensor]:
        """See `Engine`."""
        return {name: p.detach().to("cpu", copy=True) for name, p in named_weights(self.module)}
