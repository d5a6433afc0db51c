"""Some of the images of a split: which, and numbered from 0 for a training on these alone."""

from __future__ import annotations

import numpy as np

from mimflow.data.encoded import Encoded
from mimflow.data.shards import Shards
from mimflow.draw import Draw


def choose(count: int, chosen: int) -> np.ndarray:
    """Ascending int64 (min(count, chosen),), a fixed choice; a larger one holds the smaller."""
    order = Draw(np.arange(count), "features").uniform("order", 1)[:, 0].argsort(kind="stable")
    return np.sort(order[:chosen])


class Chosen:
    """The images `numbers` int64 (n,) of `shards`, as `Batches` asks for them."""

    def __init__(self, shards: Shards, numbers: np.ndarray):
        self.shards, self.numbers = shards, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def shape(self, i: int) -> tuple[int, int]:
        """(H, W)."""
        return self.shards.shape(int(self.numbers[i]))

    def same_size(self) -> bool:
        """Whether all images of the split have one size."""
        return self.shards.same_size()

    def pixels(self, i: int, max_pixels: int) -> np.ndarray:
        """uint8 (H, W, C)."""
        return self.shards.pixels(int(self.numbers[i]), max_pixels)

    def picture(self, i: int, max_pixels: int) -> np.ndarray | Encoded:
        """Pixels, or a stored picture that views decode."""
        return self.shards.picture(int(self.numbers[i]), max_pixels)
