"""Pseudo-random permutations of 0 … n-1 that need no memory: a keyed Feistel network with cycle walking.

Luby & Rackoff 1988 (a Feistel network of random functions is a random permutation); Black & Rogaway 2002
(walking the cycle until the value falls below n keeps it a permutation of exactly n values).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
from numba import int64, uint64

from pipelines.kernels import njit

_ROUNDS = 6
_FIRST, _SECOND = uint64(0xBF58476D1CE4E5B9), uint64(0x94D049BB133111EB)


@njit("void(int64[::1], int64, int64, uint64[::1])", cache=True, nogil=True)
def _permute(values: npt.NDArray[np.int64], size: int, half_bits: int, keys: npt.NDArray[np.uint64]) -> None:
    """Replace each value in [0, size) by its image.

    A round mixes the right half with its key in the style of splitmix64's finaliser, folds the upper half of the
    64 bits into the lower, and adds it to the left half.
    """
    bits = uint64(half_bits)
    mask = (uint64(1) << bits) - uint64(1)
    limit = uint64(size)
    for i in range(len(values)):
        value = uint64(values[i])
        while True:
            left, right = value >> bits, value & mask
            for key in keys:
                mixed = right + key
                mixed = (mixed ^ (mixed >> uint64(30))) * _FIRST
                mixed = (mixed ^ (mixed >> uint64(27))) * _SECOND
                left, right = right, left ^ ((mixed ^ (mixed >> uint64(31))) & mask)
            value = left << bits | right
            if value < limit:
                break
        values[i] = int64(value)


class Permutation:
    """The permutation of `range(size)` that a key names.

    Args:
        size: how many values; at least 1.
        key: whatever names it: the same words give the same permutation in every process and version.
    """

    def __init__(self, size: int, *key: object) -> None:
        if size < 1:
            raise ValueError(f"a permutation of {size} values")
        self.size = size
        # Two halves of equal width; the domain is below 4 times the size, so a walk is short.
        self._half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8 * _ROUNDS).digest()
        self._keys = np.frombuffer(digest, dtype="<u8").astype(np.uint64)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, position: int) -> int:
        return int(self(np.array([position], dtype=np.int64))[0])

    def __call__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The values at int64[n] positions. Raises IndexError where one is outside."""
        values = np.array(positions, dtype=np.int64)
        if values.size and (int(values.min()) < 0 or int(values.max()) >= self.size):
            raise IndexError(f"{int(values.min())} … {int(values.max())} reach outside 0 … {self.size - 1}")
        _permute(values, self.size, self._half_bits, self._keys)
        return values
