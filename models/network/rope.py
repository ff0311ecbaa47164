"""Rotary positions (Su et al. 2021), and the ways to make them reach further."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.network.settings import ModelSettings, RopeScaling


def rotary_table(settings: ModelSettings, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and (signed) sines [maximum_positions, E], from fp32 angles.

    The first half of the sines is negated, so that `pointwise.rotate` needs no negation.
    """
    turns, sharpness = frequencies(settings)
    positions = torch.arange(settings.maximum_positions, dtype=torch.float32, device=device)
    angles = torch.outer(positions, turns.to(device))
    cosine, sine = angles.cos() * sharpness, angles.sin() * sharpness
    return torch.cat((cosine, cosine), -1).to(dtype), torch.cat((-sine, sine), -1).to(dtype)


def frequencies(settings: ModelSettings) -> tuple[Tensor, float]:
    """Radians a position fp32 [E / 2], fastest first, and the factor on cosines and sines."""
    scaling, size = settings.rope_scaling, settings.head_size
    even = torch.arange(0, size, 2, dtype=torch.float32, device="cpu")
    turns = 1.0 / settings.rotary_base ** (even / size)
    if scaling is None or scaling.type == "ntk":
        return turns, 1.0
    if scaling.type == "linear":
        return turns / scaling.factor, 1.0
    if scaling.type == "llama3":
        return _llama3(turns, scaling), 1.0
    sharpness = scaling.attention_factor
    return _yarn(turns, settings, scaling), 0.1 * math.log(scaling.factor) + 1.0 if sharpness is None else sharpness


def _llama3(turns: Tensor, scaling: RopeScaling) -> Tensor:
    """Slow frequencies divided by the factor, fast ones kept, those between blended by their wave length."""
    waves = 2 * math.pi / turns
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    kept = ((scaling.original_positions / waves - low) / (high - low)).clamp(0.0, 1.0)
    return kept * turns + (1.0 - kept) * turns / scaling.factor


def _yarn(turns: Tensor, settings: ModelSettings, scaling: RopeScaling) -> Tensor:
    """Blended by how often a frequency turns within the original positions."""
    size, theta = settings.head_size, settings.rope_theta

    def dimension(rotations: float) -> float:
        return size * math.log(scaling.original_positions / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension(scaling.beta_fast)), 0)
    high = min(math.ceil(dimension(scaling.beta_slow)), size - 1)
    index = torch.arange(len(turns), dtype=torch.float32, device=turns.device)
    divided = ((index - low) / max(high - low, 1e-3)).clamp(0.0, 1.0)
    return turns * (1.0 - divided) + turns / scaling.factor * divided
