"""The weights that a run begins with, one parameter after another: nobody need hold all of them, or any twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.network.transformer import FreshWeights, Transformer
from models.training.spec import TrainingSpec

if TYPE_CHECKING:
    from models.network import ModelSettings

Fill = Callable[[str, Tensor], None]
"""Writes what a parameter of this name begins with into a tensor of its shape, fp32 on the CPU."""


def without_weights(settings: ModelSettings) -> Transformer:
    """A network on the meta device: its parameters have shapes and no values."""
    with torch.device("meta"):
        return Transformer(settings)


@contextlib.contextmanager
def initial_weights(spec: TrainingSpec) -> Iterator[Fill]:
    """Fresh ones from the seed, or those that the run starts from; asked for in the network's order.

    Raises:
        FileNotFoundError: there is nothing to start from.
        ValueError: what is there has not the network's names and shapes.
        DamagedError: it is not as it was written.
    """
    if spec.initial_weights is None:
        yield FreshWeights(spec.model, spec.seed)
        return
    from models.training.start import Start

    with Start.of(spec.initial_weights).reading(spec.model) as fill:
        yield fill


def one_by_one(
    network: nn.Module, weights: Fill | None, precision: torch.dtype, device: torch.device
) -> Iterator[nn.Parameter]:
    """The network's parameters, each with its values by the time that it is asked for.

    Whoever cuts up a parameter before asking for the next holds the parts and one whole parameter. Those on the meta
    device stay the same objects, so that optimizers and tied modules keep them.

    Args:
        network: whose; parameters that are not on the meta device have their values already.
        weights: what the others begin with; None: anything, another worker's values take its place.
        precision: that they get.
        device: where what begins with anything is.
    """
    for name, parameter in network.named_parameters():
        if parameter.is_meta:
            _begin(name, parameter, weights, precision, device)
        else:
            parameter.data = parameter.data.to(precision)
        yield parameter


def _begin(
    name: str, parameter: nn.Parameter, weights: Fill | None, precision: torch.dtype, device: torch.device
) -> None:
    if weights is None:
        values = torch.empty(parameter.shape, dtype=precision, device=device)
    else:
        values = torch.empty(parameter.shape)
        weights(name, values)
    torch.utils.swap_tensors(parameter, nn.Parameter(values.to(precision), parameter.requires_grad))
