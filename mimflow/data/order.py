"""The order of images: a permutation of each epoch, computed at any position in O(1) memory.

Position p of a run lies in epoch p // n at place p % n; a batch may span two epochs, so every image
is seen exactly once an epoch. The permutation is a four-round Feistel network over the smallest
even number of bits that holds n, walked until it falls inside (Black and Rogaway, CT-RSA 2002).
"""

from __future__ import annotations

import numpy as np

from mimflow.draw import fold, mix

ROUNDS = 4


def samples_at(positions: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sample ids int64 (B,) at the `positions` int64 (B,) of a run over `count` images."""
    epoch, place = np.divmod(positions, count)
    result = np.empty_like(place)
    for e in np.unique(epoch):
        result[epoch == e] = permute(place[epoch == e], count, fold("order", seed, int(e)))
    return result


def permute(place: np.ndarray, count: int, key: int) -> np.ndarray:
    """Where the permutation of 0 .. `count` - 1 that `key` names takes each `place` int64 (B,)."""
    half = max((int(count - 1).bit_length() + 1) // 2, 1)
    result = _feistel(place, half, key)
    outside = result >= count
    while outside.any():  # under 4 rounds on average: the domain is less than 4 times too large
        result[outside] = _feistel(result[outside], half, key)
        outside = result >= count
    return result


def _feistel(x: np.ndarray, half: int, key: int) -> np.ndarray:
    mask = (1 << half) - 1
    left, right = x >> half, x & mask
    for turn in range(ROUNDS):
        left, right = right, left ^ (mix(right + fold(key, turn)) & mask)
    return (left << half) | right
