"""Block-wise masks as iBOT draws them (arXiv 2111.07832, reference code): rectangles are added
while they fit a budget, so that an image may hide fewer patches than that, and never more.

Drawn on the host with the views, for all images at once. A round is one rectangle for each image
that still wants one; what an image gets depends on its own numbers alone. B rows, N = h * w.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from mimflow.draw import Draw

if TYPE_CHECKING:
    from mimflow.params.ibot import Masking

TRIES = 10  # for the next rectangle; without one the image is done
ASPECT = 0.3  # the lowest, h to w; the highest is 1 / 0.3


def drawn_masks(draw: Draw, name: str, rule: Masking, grid: tuple[int, int]) -> np.ndarray:
    """bool (B, N), True = hidden: rectangles or single patches, of a ratio drawn for each image."""
    ratio = chosen_ratios(draw, name, rule.ratio, rule.spread)
    make = {"block": ibot_blocks, "random": random_masks}[rule.kind]
    return make(draw, name, ratio, grid)


def chosen_ratios(draw: Draw, name: str, means: list[float], spreads: list[float]) -> np.ndarray:
    """float64 (B,): for each image one entry of the list, evenly, and from it uniform in its mean
    minus to plus its spread.
    """
    entry = draw.integers(f"{name}.entry", 1, len(means))[:, 0]
    place = 2 * draw.uniform(f"{name}.ratio", 1)[:, 0].astype(np.float64) - 1
    return np.array(means)[entry] + np.array(spreads)[entry] * place


def ibot_blocks(draw: Draw, name: str, ratio: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """bool (B, N), True = hidden, in at most `ratio` (B,) of the places of `grid` (h, w)."""
    mask = np.zeros((len(ratio), *grid), bool)
    budget = (
        ratio * grid[0] * grid[1]
    )  # not rounded: a remainder is no patch, but counts as an area
    wanting = np.flatnonzero(budget > 0)
    rounds = itertools.count()
    while len(wanting):
        number = next(rounds)
        numbers = draw.uniform(f"{name}.{number}", 4 * TRIES)[wanting]
        part = mask[wanting]
        added = _add_block(part, budget[wanting], numbers.reshape(-1, TRIES, 4))
        mask[wanting] = part
        wanting = wanting[added & (part.sum((1, 2)) < budget[wanting])]
    return mask.reshape(len(mask), -1)


def random_masks(draw: Draw, name: str, ratio: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """bool (B, N): exactly the whole part of `ratio` (B,) times N places, uniformly."""
    noise = draw.uniform(name, math.prod(grid))
    count = (ratio * noise.shape[1]).astype(int)
    return noise.argsort(1, kind="stable").argsort(1) < count[:, None]


def _add_block(mask: np.ndarray, budget: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Adds the first rectangle that fits to each `mask` (B, h, w), in place; bool (B,), who has
    one. `numbers` (B, tries, 4) in [0, 1): area, aspect, top, left.
    """
    _, height, width = mask.shape
    low = (min(height, width) // 3) ** 2
    left = budget - mask.sum((1, 2))  # (B,), may be below `low`: then areas lie between the two
    row, column = np.arange(height)[:, None], np.arange(width)
    waiting = np.ones(len(mask), bool)
    for area, aspect, top, start in numbers.astype(np.float64).transpose(1, 2, 0):
        area = low + (left - low) * area
        aspect = np.exp(math.log(ASPECT) * (1 - 2 * aspect))
        h, w = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
        y = np.floor(top * (height - h + 1))[:, None, None]
        x = np.floor(start * (width - w + 1))[:, None, None]
        inside = (row >= y) & (row < y + h[:, None, None])
        inside = inside & (column >= x) & (column < x + w[:, None, None])  # (B, h, w)
        covered = (inside & ~mask).sum((1, 2))
        fits = waiting & (h < height) & (w < width) & (covered > 0) & (covered <= left)
        mask |= inside & fits[:, None, None]
        waiting &= ~fits
    return ~waiting
