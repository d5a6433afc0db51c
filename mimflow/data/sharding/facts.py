"""What is counted while a shard is written: whole numbers only, so that their sum has no order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

_ROW = 3 * 256  # values summed side by side: numpy is four times as fast as on rows of three
_BLOCK = _ROW << 12  # values at once; 2^12 squares of a byte fit in 32 bits, and the block in cache


class Facts:
    """Counts of the pictures added so far; sums are over the pictures of the train split."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.classes: dict[str, Counter[int]] = {}
        self.sizes: Counter[str] = Counter()
        self.greyscale = 0
        self.pixels = 0
        self.sums = np.zeros((2, 3), np.int64)  # of the values, of their squares
        self.quarantined: list[dict[str, str]] = []
        self._waiting: list[np.ndarray] = []
        self._waiting_size = 0

    def add(self, split: str, label: int, pixels: np.ndarray) -> None:
        """`pixels` uint8 (H, W, 3)."""
        self.rows[split] += 1
        self.classes.setdefault(split, Counter())[label] += 1
        self.sizes[f"{pixels.shape[0]}x{pixels.shape[1]}"] += 1
        self.greyscale += _is_grey(pixels)
        if split == "train":
            self.pixels += pixels.shape[0] * pixels.shape[1]
            self._waiting.append(pixels.reshape(-1))
            self._waiting_size += pixels.size
            if self._waiting_size >= _BLOCK:  # small pictures are summed together
                self._sum()

    def _sum(self) -> None:
        values = np.concatenate([*self._waiting, np.zeros(-self._waiting_size % _ROW, np.uint8)])
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK].reshape(-1, _ROW).astype(np.uint32)
            for power in range(2):
                columns = block.sum(0, dtype=np.uint32).reshape(-1, 3)  # (256, 3)
                self.sums[power] += columns.sum(0, dtype=np.int64)
                block *= block
        self._waiting, self._waiting_size = [], 0

    def as_json(self) -> dict[str, Any]:
        if self._waiting:
            self._sum()
        return {
            "rows": dict(self.rows),
            "classes": {split: dict(count) for split, count in self.classes.items()},
            "sizes": dict(self.sizes),
            "greyscale": self.greyscale,
            "pixels": self.pixels,
            "sums": self.sums.tolist(),
            "quarantined": self.quarantined,
        }


def _is_grey(pixels: np.ndarray) -> bool:
    """Whether the three channels are equal everywhere, however the file stores them."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if (red[0] != green[0]).any():  # nearly every colour picture ends here
        return False
    return bool((red == green).all() and (green == blue).all())
