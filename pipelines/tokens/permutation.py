"""Pseudo-random permutations of 0 … n-1 that need no memory: a keyed Feistel network with cycle walking.

Luby & Rackoff 1988 (a Feistel network of random functions is a random permutation); Black & Rogaway 2002
(walking the cycle until the value falls below n keeps it a permutation of exactly n values).
"""

from __future__ import annotations

import hashlib

_MASK = (1 << 64) - 1
_ROUNDS = 6


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
        self._half_mask = (1 << self._half_bits) - 1
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8 * _ROUNDS).digest()
        self._keys = [int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(_ROUNDS)]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, position: int) -> int:
        if not 0 <= position < self.size:
            raise IndexError(f"{position} is outside 0 … {self.size - 1}")
        value = self._encrypt(position)
        while value >= self.size:
            value = self._encrypt(value)
        return value

    def _encrypt(self, value: int) -> int:
        left, right = value >> self._half_bits, value & self._half_mask
        for key in self._keys:
            left, right = right, left ^ (_mix(right, key) & self._half_mask)
        return left << self._half_bits | right


def _mix(value: int, key: int) -> int:
    """A 64-bit finaliser in the style of splitmix64, keyed; the upper half is folded into the lower."""
    value = (value + key) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31
