"""One optimizer for all engines: AdamW, or Muon for the blocks' matrices; clips and leaves steps out on the device.

Nothing is read back: the norm, the decision and the updates stay where the gradients are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from models.training.settings import TrainingSettings

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_RMS = 0.2
"""Root mean square of AdamW's updates, to which Muon's are scaled (Liu et al. 2025, "Muon is Scalable")."""


def parameter_groups(module: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Groups of the network's trainable parameters, each with `rate`, a multiple of the learning rate.

    Matrices decay; norms' scales and other vectors do not. With Muon the blocks' matrices are a group of its own
    (`muon`: True).
    """
    rates, muon = settings.rates, settings.optimizer == "muon"
    groups: dict[str, dict[str, Any]] = {
        "hidden": {"params": [], "rate": 1.0, "weight_decay": settings.weight_decay, "muon": muon},
        "embedding": {"params": [], "rate": rates.embedding, "weight_decay": settings.weight_decay, "muon": False},
        "head": {"params": [], "rate": rates.head, "weight_decay": settings.weight_decay, "muon": False},
        "vector": {"params": [], "rate": rates.vector, "weight_decay": 0.0, "muon": False},
    }
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups[_kind(name, parameter)]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _kind(name: str, parameter: nn.Parameter) -> str:
    if len(getattr(parameter, "ds_shape", parameter.shape)) < 2:
        return "vector"
    if "embed_tokens" in name:
        return "embedding"
    return "head" if "lm_head" in name else "hidden"


class Updater(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019) and Muon (Jordan et al. 2024) behind one global norm.

    A step is left out where the norm is not finite or `bad` is set: weights, momenta and counts stay as they were.

    Args:
        groups: of `parameter_groups`.
        settings: of the run.
        partitioned: an engine hands over parts of the gradients, some at a time, clipped and known to be finite: only
            `bad` leaves a step out.

    Attributes:
        bad: bool scalar on the device, set before a step; None: no opinion.
        gradient_norm: fp32 scalar, global norm before clipping, of the newest step (not `partitioned`).
        applied: bool scalar, whether that step was taken (not `partitioned`).
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        settings: TrainingSettings,
        partitioned: bool = False,
    ) -> None:
        super().__init__(list(groups), {"lr": settings.learning_rate})
        self._betas, self._epsilon, self._clip = (settings.beta1, settings.beta2), settings.epsilon, settings.clip
        self._muon, self._partitioned = settings.muon, partitioned
        self.bad: Tensor | None = None
        self.gradient_norm = self.applied = torch.zeros(())

    # torch's returns the closure's loss; no engine has a closure.
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Clip and update, or leave it out."""
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            return
        if self._partitioned:
            bad = gradients[0].new_zeros((), dtype=torch.bool) if self.bad is None else self.bad
            divisor = torch.ones((), device=gradients[0].device)
        else:
            norm = torch.stack(torch._foreach_norm(gradients)).float().norm()
            bad = ~torch.isfinite(norm)
            if self.bad is not None:
                bad = bad | self.bad
            # What gradients are divided by.
            divisor = ((norm + 1e-6) / self._clip).clamp(min=1.0) if self._clip > 0 else torch.ones_like(norm)
            self.gradient_norm, self.applied = norm, ~bad
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group.get("muon"):
                self._step_muon(parameters, group, bad)
            elif parameters:
                self._step_adamw(parameters, group, divisor, bad)

    def _step_adamw(self, parameters: list[nn.Parameter], group: dict[str, Any], divisor: Tensor, bad: Tensor) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), dtype=torch.float32, device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        states = [self.state[p] for p in parameters]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            list(parameters),
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=group["lr"],
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=group["weight_decay"],
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
            grad_scale=divisor,
            found_inf=bad.float(),
        )
        torch._foreach_sub_(steps, [bad.float()] * len(steps))

    def _step_muon(self, parameters: list[nn.Parameter], group: dict[str, Any], bad: Tensor) -> None:
        same: dict[torch.Size, list[Tensor]] = {}
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {"momentum": torch.zeros_like(p)}
            same.setdefault(p.shape, []).append(p)
        keep = (~bad).float()
        for shape, alike in same.items():
            gradients = [torch.where(bad, 0.0, p.grad) for p in alike]  # type: ignore[arg-type]
            momenta = [self.state[p]["momentum"] for p in alike]
            weight = (1 - self._muon.momentum) * keep
            torch._foreach_mul_(momenta, 1 - weight)
            torch._foreach_add_(momenta, torch._foreach_mul(gradients, weight))
            directions = (
                torch._foreach_lerp(gradients, momenta, self._muon.momentum) if self._muon.nesterov else momenta
            )
            updates = orthogonal(torch.stack(list(directions)), self._muon.iterations)
            size = _RMS * math.sqrt(max(shape)) * group["lr"]
            torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"] * keep)
            torch._foreach_add_(alike, [update * (-size * keep) for update in updates.to(alike[0].dtype).unbind()])


def orthogonal(matrices: Tensor, iterations: int) -> Tensor:
    """Matrices [k, m, n] with their singular values moved near 1, by a quintic Newton-Schulz iteration.

    In bf16 on GPUs, as Jordan et al. (2024) do, whose coefficients these are; in fp32 elsewhere.
    """
    a, b, c = _COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT
