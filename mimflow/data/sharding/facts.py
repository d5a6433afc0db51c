"""What is counted while a shard is written: whole numbers only, so that their sum has no order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from mimflow.data.readers.record import SPLITS

_ROW = 3 * 256  # values summed side by side: numpy is four times as fast as on rows of three
_BLOCK = _ROW << 12  # values at once; 2^12 squares of a byte fit in 32 bits, and the block in cache


class Facts:
    """Counts of the pictures added so far; sums are over the pictures of the train split."""

    def __init__(self, channels: int = 3) -> None:
        self.rows: Counter[str] = Counter()
        self.classes: dict[str, Counter[int]] = {}
        self.sizes: Counter[str] = Counter()
        self.greyscale = 0
        self.pixels = 0
        self.sums = np.zeros((2, channels), np.int64)  # of the values, of their squares
        self.quarantined: list[dict[str, str]] = []
        self._waiting: list[np.ndarray] = []
        self._waiting_size = 0

    def add(self, split: str, label: int, pixels: np.ndarray) -> None:
        """`pixels` (H, W, C) of uint8 or uint16; of points, (P, C), only the size is counted."""
        self.rows[split] += 1
        self.classes.setdefault(split, Counter())[label] += 1
        self.sizes[f"{pixels.shape[0]}x{pixels.shape[1]}"] += 1
        if pixels.ndim == 2:
            return
        self.greyscale += _is_grey(pixels)
        if split == "train":
            self.pixels += pixels.shape[0] * pixels.shape[1]
            self._waiting.append(pixels.reshape(-1))
            self._waiting_size += pixels.size
            if self._waiting_size >= _BLOCK:  # small pictures are summed together
                self._sum()

    def _sum(self) -> None:
        rest = np.zeros(-self._waiting_size % _ROW, self._waiting[0].dtype)
        values = np.concatenate([*self._waiting, rest])
        wide: Any = np.uint32 if values.dtype == np.uint8 else np.uint64
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK].reshape(-1, _ROW).astype(wide)
            for power in range(2):
                columns = block.sum(0, dtype=wide).reshape(-1, self.sums.shape[1])  # (n, C)
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


def total(shards: list[dict[str, Any]], key: str) -> Counter[str]:
    """The counts under `key`, over all shards."""
    found: Counter[str] = Counter()
    for shard in shards:
        found.update(shard[key])
    return found


def ranges(rows: dict[str, int]) -> dict[str, list[int]]:
    """The first row and the number of rows of each split of a shard."""
    found, first = {}, 0
    for split in SPLITS:
        if split in rows:
            found[split] = [first, rows[split]]
            first += rows[split]
    return found


def _is_grey(pixels: np.ndarray) -> bool:
    """Whether the channels are equal everywhere, however the file stores them."""
    if pixels.shape[2] == 1:
        return True
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if (red[0] != green[0]).any():  # nearly every colour picture ends here
        return False
    return bool((red == green).all() and (green == blue).all())
