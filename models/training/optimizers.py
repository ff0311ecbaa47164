"""One optimizer for all engines: AdamW, or Muon for the blocks' matrices; clips and leaves steps out on the device.

Nothing is read back: the norm, the decision and the updates stay where the gradients are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.adamw import adamw

from models.training.muon import Shape, Sharing, in_a_row, in_slices, update
from models.training.settings import TrainingSettings

_ROOM = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Elements of matrices that one batched product takes: what stays near the cores, and what fills a GPU."""
_STEPS = "step"


def parameter_groups(module: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Groups of the network's trainable parameters, each with `rate`, a multiple of the learning rate.

    Matrices decay; norms' scales and other vectors do not. With Muon the blocks' matrices are a group of its own
    (`muon`: True). What is treated alike is one group.
    """
    rates, decay = settings.rates, settings.weight_decay
    options = {
        "hidden": {"rate": 1.0, "weight_decay": decay, "muon": settings.optimizer == "muon"},
        "embedding": {"rate": rates.embedding, "weight_decay": decay, "muon": False},
        "head": {"rate": rates.head, "weight_decay": decay, "muon": False},
        "vector": {"rate": rates.vector, "weight_decay": 0.0, "muon": False},
    }
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            alike = options[_kind(name, parameter)]
            groups.setdefault(tuple(alike.values()), {"params": [], **alike})["params"].append(parameter)
    return list(groups.values())


def _shape(parameter: nn.Parameter) -> torch.Size:
    """The whole parameter's, also where DeepSpeed has sharded it."""
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape


def _kind(name: str, parameter: nn.Parameter) -> str:
    if len(_shape(parameter)) < 2:
        return "vector"
    if "embed_tokens" in name:
        return "embedding"
    return "head" if "lm_head" in name else "hidden"


class Updater(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019) and Muon (Jordan et al. 2024) behind one global norm.

    A step is left out where the norm is not finite or above `largest_norm`, or `bad` is set: weights, momenta and
    counts stay as they were.
    The parameters are the network's, or (`flat`) DeepSpeed's: of each group one vector, this worker's part of it, and
    `step` is called for one group after another.

    Args:
        groups: of `parameter_groups`.
        settings: of the run.
        device: where matrices are made orthogonal, wherever their momenta are.
        flat: the ZeRO stage that makes vectors of them; 0: they stay as they are.
        rank: of this worker.
        world: number of workers.

    Attributes:
        bad: bool scalar, set before a step; None: no opinion.
        largest_norm: scalar, set before a step; None: any finite norm will do.
        norm_of: where to get the global norm where gradients are in parts; None: it is that of all gradients.
        gradient_norm: fp32 scalar, global norm before clipping, of the newest step.
        applied: bool scalar, whether that step was taken.
    """

    # torch wraps these so that its compiler leaves them alone, and reads the compiler to do so: a second of every
    # start of a worker. They are not called in what is compiled.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        settings: TrainingSettings,
        device: torch.device,
        flat: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(list(groups), {"lr": settings.learning_rate})
        self._betas, self._epsilon, self._clip = (settings.beta1, settings.beta2), settings.epsilon, settings.clip
        self._muon, self._device, self._rank, self._world = settings.muon, device, rank, world
        self.bad: Tensor | None = None
        self.largest_norm: Tensor | None = None
        self.norm_of: Callable[[], Tensor] | None = None
        self.gradient_norm = self.applied = torch.zeros(())
        self._sharing: Sharing | None = None
        shapes = [_matrix(p) for group in self.param_groups if group["muon"] for p in group["params"]]
        if flat and shapes:
            cuts = (in_slices if flat == 3 else in_a_row)(shapes, world)
            self._sharing = Sharing(cuts, rank, world, _ROOM[device.type])

    def expect(self, learning_rate: float, bad: Tensor | None, largest_norm: Tensor | None = None) -> None:
        """Set what the next step goes by; as long as it has not come, it counts as left out."""
        for group in self.param_groups:
            group["lr"] = learning_rate * group["rate"]
        self.bad, self.largest_norm = bad, largest_norm
        self.gradient_norm = torch.full((), torch.inf, device=self._device)
        self.applied = torch.zeros((), dtype=torch.bool, device=self._device)

    def states(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """What is kept for a parameter beside the number of steps, by name; zeros before its first step."""
        kept = self.state[parameter]
        if not kept:
            kept.update(_fresh(parameter, group))
        return {name: values for name, values in kept.items() if name != _STEPS}

    @property
    def steps(self) -> int:
        """Steps that AdamW took: those left out do not count. Waits for the device."""
        for state in self.state.values():
            if _STEPS in state:
                return int(state[_STEPS])
        return 0

    @steps.setter
    def steps(self, value: int) -> None:
        for state in self.state.values():
            if _STEPS in state:
                state[_STEPS].fill_(value)

    # torch's returns the closure's loss; no engine has a closure.
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Clip and update, or leave it out."""
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            return
        norm = torch.stack(torch._foreach_norm(gradients)).norm() if self.norm_of is None else self.norm_of()
        norm = norm.to(self._device, torch.float32)
        bad = ~torch.isfinite(norm)
        if self.bad is not None:
            bad = bad | self.bad
        if self.largest_norm is not None:
            bad = bad | (norm > self.largest_norm)
        self.gradient_norm, self.applied = norm, ~bad
        # What gradients are divided by.
        divisor = ((norm + 1e-6) / self._clip).clamp(min=1.0) if self._clip > 0 else torch.ones_like(norm)
        home = gradients[0].device
        bad, divisor = bad.to(home), divisor.to(home)
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                (self._step_muon if group["muon"] else self._step_adamw)(parameters, group, divisor, bad)

    def _step_adamw(self, parameters: list[nn.Parameter], group: dict[str, Any], divisor: Tensor, bad: Tensor) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p] = _fresh(p, group)
        states = [self.state[p] for p in parameters]
        adamw(
            list(parameters),
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state[_STEPS] for state in states],
            fused=True,
            grad_scale=divisor,
            found_inf=bad.float(),
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=self._epsilon,
            maximize=False,
        )

    def _step_muon(self, parameters: list[nn.Parameter], group: dict[str, Any], divisor: Tensor, bad: Tensor) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p] = _fresh(p, group)
        keep = (~bad).float()
        decay = 1.0 - group["lr"] * group["weight_decay"] * keep
        for some, made in self._updates(parameters, keep / divisor, bad):
            torch._foreach_mul_(some, decay)
            torch._foreach_add_(some, (made * (-group["lr"] * keep)).unbind())

    def _updates(
        self, parameters: list[nn.Parameter], scale: Tensor, bad: Tensor
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Parameters of one shape, and their updates in one tensor; scaled to AdamW's."""
        iterations = self._muon.iterations
        if self._sharing is not None:
            for p in parameters:
                assert p.grad is not None
                direction = self._direction(p.grad, self.state[p]["momentum"], scale, bad).to(self._device)
                exchanged = direction.bfloat16() if direction.is_cuda else direction
                yield [p], self._sharing.updates(exchanged, iterations).to(p.device, p.dtype)[None]
            return
        made = []
        for number, some in enumerate(self._batches(parameters)):
            momenta = [self.state[p]["momentum"] for p in some]
            moved = torch.stack(momenta)
            gradients = torch.stack([p.grad for p in some if p.grad is not None])
            direction = self._direction(gradients, moved, scale, bad)
            torch._foreach_copy_(momenta, moved.unbind())
            here = number % self._world == self._rank
            own = update(direction, iterations).to(moved.dtype).contiguous() if here else torch.empty_like(moved)
            if self._world == 1:
                yield some, own
            else:
                made.append((some, own))
        for number, (some, updates) in enumerate(made):
            dist.broadcast(updates, number % self._world)
            yield some, updates

    def _batches(self, parameters: list[nn.Parameter]) -> Iterator[list[Tensor]]:
        """Parameters of one shape, as many as one batched product takes."""
        same: dict[torch.Size, list[Tensor]] = {}
        for p in parameters:
            same.setdefault(p.shape, []).append(p)
        for shape, alike in same.items():
            count = max(1, _ROOM[self._device.type] // shape.numel())
            for at in range(0, len(alike), count):
                yield alike[at : at + count]

    def _direction(self, gradient: Tensor, momentum: Tensor, scale: Tensor, bad: Tensor) -> Tensor:
        """Move the momentum, in place, and the gradient with it; what is to be made orthogonal."""
        # Gradients that are not finite would not go away by a factor of 0.
        gradient.mul_(scale).masked_fill_(bad, 0.0)
        momentum.lerp_(gradient, (1 - self._muon.momentum) * (~bad).float())
        return gradient.lerp_(momentum, self._muon.momentum) if self._muon.nesterov else momentum


def _fresh(parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
    if group["muon"]:
        return {"momentum": torch.zeros_like(parameter)}
    return {
        _STEPS: torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def _matrix(parameter: nn.Parameter) -> Shape:
    rows, columns = _shape(parameter)
    return rows, columns
