"""Block-wise masking as BEiT draws it (Bao et al., arXiv 2106.08254; reference code): rectangles
one after the other until enough patches are hidden, never more.

v1 stops with fewer where ten tries in a row add nothing; v2 (arXiv 2208.06366) tops the mask up
with single patches. It is drawn in the loader: every try depends on those before it. R what is
still to be hidden, bounded by the largest block; u a number in [0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mimflow.draw import Draw

TRIES = 10  # for one block
FLATTEST = math.log(0.3)  # of height over width; the tallest is its inverse
AT_ONCE = 16  # tries whose numbers are drawn together


def block_masks(
    draw: Draw,
    grid: tuple[int, int],
    hidden: int,
    smallest: int,
    largest: int | None,
    exactly: bool,
) -> np.ndarray:
    """bool (B, N), True = hidden: at most `hidden` patches of each image, or `exactly` as many.

    A block has an area between `smallest` and R patches, and is smaller than the grid (h, w) on
    both sides. Row b depends on row b of `draw` alone.
    """
    numbers = _Numbers(draw)
    masks = np.zeros((len(draw.rows), *grid), bool)
    for row, mask in enumerate(masks):
        _fill(mask, numbers.of(row), hidden, smallest, largest or hidden)
    flat = masks.reshape(len(masks), -1)
    return _topped_up(flat, draw, hidden) if exactly else flat


class _Numbers:
    """Numbers of every row, drawn for all rows at once when the first of them asks."""

    def __init__(self, draw: Draw):
        self.draw = draw
        self.drawn: list[np.ndarray] = []

    def of(self, row: int) -> Iterator[list[float]]:
        """Four numbers for each try of the row, without end."""
        part = 0
        while True:
            if part == len(self.drawn):
                found = self.draw.uniform(f"blocks.{part}", 4 * AT_ONCE)
                self.drawn.append(found.reshape(-1, AT_ONCE, 4).astype(np.float64))
            yield from self.drawn[part][row].tolist()
            part += 1


def _fill(
    mask: np.ndarray, tries: Iterator[list[float]], hidden: int, smallest: int, largest: int
) -> None:
    """Hides blocks of `mask` (h, w) until `hidden` patches are, or a block finds no place."""
    count = 0
    while count < hidden:
        added = _block(mask, tries, smallest, min(hidden - count, largest))
        if not added:
            return
        count += added


def _block(mask: np.ndarray, tries: Iterator[list[float]], smallest: int, most: int) -> int:
    """Hides one block that adds 1 to R = `most` patches; how many, 0 where ten tries add none."""
    rows, columns = mask.shape
    for _ in range(TRIES):
        u, v, y, x = next(tries)
        area = smallest + u * (most - smallest)  # from R up to the smallest, where R is below it
        aspect = math.exp(FLATTEST - 2 * FLATTEST * v)
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height >= rows or width >= columns:
            continue
        top, left = int(y * (rows - height + 1)), int(x * (columns - width + 1))  # the last too
        place = mask[top : top + height, left : left + width]
        added = place.size - int(np.count_nonzero(place))
        if 0 < added <= most:
            place[:] = True
            return added
    return 0


def _topped_up(masks: np.ndarray, draw: Draw, hidden: int) -> np.ndarray:
    """`masks` (B, N) with single patches, each as likely, until `hidden` are hidden."""
    noise = np.where(masks, -1.0, draw.uniform("blocks.rest", masks.shape[1]))
    rank = noise.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return rank < hidden
