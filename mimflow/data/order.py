"""The order of images: a permutation of each epoch, computed at any position in O(1) memory.

Position p of a run lies in epoch p // n at place p % n; a batch may span two epochs, so every image
is seen exactly once an epoch. The permutation is a four-round Feistel network over the smallest
even number of bits that holds n, walked until it falls inside (Black and Rogaway, CT-RSA 2002).

With a window, neighbours in an epoch are near each other on the disk: the images are cut into
blocks as they are stored, the blocks permuted, and every BLOCKS of them mixed with each other. A
spinning disk or a network file system then reads stretches instead of single images.
"""

from __future__ import annotations

import numpy as np

from mimflow.draw import fold, mix

ROUNDS = 4
BLOCKS = 16  # in a window


def samples_at(
    positions: np.ndarray, count: int, seed: int, window: int | None = None
) -> np.ndarray:
    """Sample ids int64 (B,) at the `positions` int64 (B,) of a run over `count` images.

    `window`: how many images are mixed with each other; None mixes all.
    """
    epoch, place = np.divmod(positions, count)
    result = np.empty_like(place)
    for e in np.unique(epoch):
        key, now = fold("order", seed, int(e)), epoch == e
        result[now] = (
            permute(place[now], count, key)
            if window is None or window >= count
            else _windowed(place[now], count, key, window)
        )
    return result


def _windowed(place: np.ndarray, count: int, key: int, window: int) -> np.ndarray:
    """Windows of BLOCKS blocks; what does not fill a block comes last, another part each epoch."""
    block = -(-window // BLOCKS)
    length = block * BLOCKS
    mixed = np.empty_like(place)
    for w in np.unique(place // length).tolist():
        inside = place // length == w
        first = w * length
        step = permute(place[inside] - first, min(length, count - first), fold(key, "window", w))
        mixed[inside] = first + step
    number, rest = np.divmod(mixed, block)
    whole = number < count // block
    number[whole] = permute(number[whole], count // block, fold(key, "blocks"))
    turn = fold(key, "turn") % count  # which images the last, short block holds
    return (number * block + rest + turn) % count


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
