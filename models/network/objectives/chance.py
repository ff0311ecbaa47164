"""Chance as a function of (seed, sample id): numbers drawn by counting, so that any sample can be made alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from pipelines.kernels import njit

_STEP = uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = uint64(0xBF58476D1CE4E5B9), uint64(0x94D049BB133111EB)
_UNIT = 2.0**-53


@njit("uint64(uint64)", cache=True, nogil=True)
def mix(value: np.uint64) -> np.uint64:
    """A bijection of 64-bit numbers that leaves no pattern: the finaliser of splitmix64 (Steele et al. 2014)."""
    value = (value ^ (value >> uint64(30))) * _FIRST
    value = (value ^ (value >> uint64(27))) * _SECOND
    return value ^ (value >> uint64(31))


@njit("float64(uint64, int64)", cache=True, nogil=True)
def uniform(key: np.uint64, number: int) -> float:
    """The draw of that number from [0, 1), in steps of 2^-53: what splitmix64 gives that starts at the key."""
    return float(mix(key + uint64(number) * _STEP) >> uint64(11)) * _UNIT


@njit("int64(uint64, int64, int64)", cache=True, nogil=True)
def below(key: np.uint64, number: int, bound: int) -> int:
    """The draw of that number from 0 … bound - 1."""
    return int(uniform(key, number) * bound)


def key_of(seed: int) -> np.uint64:
    """A seed's 64 bits."""
    return np.uint64(mix(np.uint64((seed + 1) * int(_STEP) % 2**64)))


def keys(seed: int, sample_ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint64]:
    """A key for each sample, uint64[n]; those of one seed all differ."""
    found = np.asarray(sample_ids).astype(np.uint64) + key_of(seed)
    _mix_all(found)
    return found


@njit("void(uint64[::1])", cache=True, nogil=True)
def _mix_all(values: NDArray[np.uint64]) -> None:
    for i in range(len(values)):
        values[i] = mix(values[i])
