"""Rectangles of hidden patches, one after the other until enough are hidden, never more (BEiT,
arXiv 2106.08254; iBOT, arXiv 2111.07832; both as their reference code draws them).

Drawn on the host with the views, for all images at once. A round is one rectangle for each image
that still wants one; what an image gets depends on its own numbers alone. B rows, N = h * w.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from mimflow.draw import Draw

TRIES = 10  # for the next rectangle; without one the image is done
ASPECT = 0.3  # the lowest, h to w; the highest is 1 / 0.3


def rectangles(
    draw: Draw,
    name: str,
    budget: np.ndarray,
    smallest: float,
    largest: float | None,
    grid: tuple[int, int],
) -> np.ndarray:
    """bool (B, N), True = hidden: at most `budget` (B,) of the places of `grid` (h, w).

    A rectangle is smaller than the grid on both sides; its area lies between `smallest` and what is
    left of the budget, or `largest` if that is less.
    """
    mask = np.zeros((len(budget), *grid), bool)
    wanting = np.flatnonzero(budget > 0)
    for number in itertools.count():
        if not len(wanting):
            return mask.reshape(len(mask), -1)
        numbers = draw.uniform(f"{name}.{number}", 4 * TRIES)[wanting]
        part = mask[wanting]
        most = budget[wanting] - part.sum((1, 2))
        most = most if largest is None else np.minimum(most, largest)
        added = _add(part, most, smallest, numbers.reshape(-1, TRIES, 4))
        mask[wanting] = part
        wanting = wanting[added & (part.sum((1, 2)) < budget[wanting])]
    raise AssertionError


def _add(mask: np.ndarray, most: np.ndarray, smallest: float, numbers: np.ndarray) -> np.ndarray:
    """Adds the first rectangle that fits to each `mask` (B, h, w), in place; bool (B,), who has
    one. `most` (B,): places it may cover; `numbers` (B, tries, 4) in [0, 1): area, aspect, top,
    left.
    """
    _, height, width = mask.shape
    row, column = np.arange(height)[:, None], np.arange(width)
    waiting = np.ones(len(mask), bool)
    for area, aspect, top, start in numbers.astype(np.float64).transpose(1, 2, 0):
        area = smallest + (most - smallest) * area  # between the two also where `most` is less
        aspect = np.exp(math.log(ASPECT) * (1 - 2 * aspect))
        h, w = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
        y = np.floor(top * (height - h + 1))[:, None, None]
        x = np.floor(start * (width - w + 1))[:, None, None]
        inside = (row >= y) & (row < y + h[:, None, None])
        inside = inside & (column >= x) & (column < x + w[:, None, None])  # (B, h, w)
        covered = (inside & ~mask).sum((1, 2))
        fits = waiting & (h < height) & (w < width) & (covered > 0) & (covered <= most)
        mask |= inside & fits[:, None, None]
        waiting &= ~fits
    return ~waiting
