"""Points that fill a cube evenly: a shifted Halton sequence (Halton 1960; shift after Cranley & Patterson 1976)."""

from __future__ import annotations

import numpy as np

from models.tuning.settings import SearchSettings

_BASES = (2, 3, 5)


def halton(count: int, dimensions: int, seed: int) -> np.ndarray:
    """`count` points in [0, 1)^dimensions, float64. The first n of more points are the n points of fewer.

    Args:
        count: how many.
        dimensions: up to 3.
        seed: of the shift, modulo 1, of all points.
    """
    points = np.empty((count, dimensions))
    for axis, base in enumerate(_BASES[:dimensions]):
        for index in range(count):
            # The first points of a Halton sequence lie on a diagonal; index + 1 skips only the origin.
            points[index, axis] = _radical_inverse(index + 1, base)
    return (points + np.random.default_rng(seed).random(dimensions)) % 1.0


def _radical_inverse(number: int, base: int) -> float:
    value, weight = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        value += digit * weight
        weight /= base
    return value


def configurations(search: SearchSettings, seed: int) -> list[dict[str, float | int]]:
    """The settings of each trial: `learning_rate`, `tokens_per_step`, `weight_decay`."""
    space, found = search.space, []
    for rate, batch, decay in halton(search.trials, 3, seed):
        found.append(
            {
                "learning_rate": float(f"{space.learning_rate.at(rate):.4g}"),
                "tokens_per_step": space.tokens_per_step[int(batch * len(space.tokens_per_step))],
                "weight_decay": float(f"{space.weight_decay.at(decay):.3g}"),
            }
        )
    return found
