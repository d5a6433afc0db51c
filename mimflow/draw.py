"""Randomness as a function, not a state: every number is a hash of where it is used.

A `Draw` is keyed by integers (the seed, the step or the epoch) and holds one row number for each
image (its place in the global batch, or its sample id). The value at (row, name, index) depends on
nothing else: not on the process, the micro-batch, the device, or on what was drawn before. The hash
is SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014) over a counter, in 64-bit
integers that wrap; numpy in the loader and torch on the device give the same bits.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

_WORD = 1 << 64
_GOLDEN = 0x9E3779B97F4A7C15


def _signed(value: int) -> int:
    """`value` modulo 2^64, as the signed 64-bit integer that numpy and torch hold."""
    value %= _WORD
    return value - _WORD if value >= _WORD // 2 else value


_STEP, _FIRST, _SECOND = map(_signed, (_GOLDEN, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


_BLOCK = 1 << 15  # numbers that stay in a core's cache while they are mixed: ten times as fast


def mix(z: Any) -> Any:
    """SplitMix64's finaliser on an int64 array of numpy or torch, in its place; the masks make the
    shifts logical.
    """
    z ^= (z >> 30) & 0x3FFFFFFFF
    z *= _FIRST
    z ^= (z >> 27) & 0x1FFFFFFFFF
    z *= _SECOND
    z ^= (z >> 31) & 0x1FFFFFFFF
    return z


def fold(*parts: int | str) -> int:
    """One signed 64-bit key from integers and names; the order matters."""
    key = np.zeros(1, np.int64)
    for part in parts:
        number = zlib.crc32(part.encode()) | 1 << 40 if isinstance(part, str) else part
        key = mix(key * 3 + _signed(number + _GOLDEN))
    return int(key[0])


class Draw:
    """Random numbers for B rows, a function of (key, row, name, index).

    `rows` int64 (B,), numpy or torch: its library and device are those of every result.
    """

    def __init__(self, rows: Any, *key: int | str):
        self.rows = rows
        self.key = fold(*key)

    def shared(self) -> Draw:
        """One row for the whole batch: the same numbers in every process and micro-batch.

        They are those of row 0 under the same name, so a name is used in one way only.
        """
        one = Draw(self.rows[:1] * 0)
        one.key = self.key
        return one

    def _bits(self, name: str, count: int, kept: int) -> Any:
        """int64 (B, count): the `kept` highest bits."""
        row = mix(self.rows * _STEP + fold(self.key, name))
        if isinstance(self.rows, np.ndarray):
            index: Any = np.arange(1, count + 1, dtype=np.int64)
        else:
            import torch

            index = torch.arange(1, count + 1, device=self.rows.device)
        bits = row[:, None] + index * _STEP
        every = bits.reshape(-1)
        on_host = isinstance(every, np.ndarray) or every.device.type == "cpu"
        block = _BLOCK if on_host else max(len(every), 1)
        for start in range(0, len(every), block):
            part = mix(every[start : start + block])
            part >>= 64 - kept
            part &= (1 << kept) - 1
        return bits

    def uniform(self, name: str, count: int) -> Any:
        """float32 (B, count) in [0, 1), multiples of 2^-24."""
        bits = self._bits(name, count, 24)
        found = bits.astype(np.float32) if isinstance(bits, np.ndarray) else bits.float()
        found *= 2**-24
        return found

    def integers(self, name: str, count: int, below: int) -> Any:
        """int64 (B, count) in [0, below); the bias is under below / 2^31."""
        return (self._bits(name, count, 31) * below) >> 31

    def normal(self, name: str, count: int) -> Any:
        """float32 (B, count), standard normal (Box and Muller, from two uniforms each)."""
        radius, angle = self.uniform(name + ".radius", count), self.uniform(name + ".angle", count)
        if isinstance(radius, np.ndarray):
            length = np.sqrt(-2 * np.log1p(-radius))  # log1p(-u) is finite for u < 1
            return length * np.cos(np.float32(2 * np.pi) * angle)
        return (-2 * (-radius).log1p()).sqrt() * (2 * np.pi * angle).cos()
