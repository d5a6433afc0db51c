"""Block-wise masks as iBOT draws them (arXiv 2111.07832, reference code): rectangles are added
while they fit a budget, so that an image may hide fewer patches than that, and never more.

B rows, N = h * w.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mimflow.draw import Draw
from mimflow.masks.rectangles import rectangles

if TYPE_CHECKING:
    from mimflow.params.ibot import Masking


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
    budget = (
        ratio * grid[0] * grid[1]
    )  # not rounded: a remainder is no patch, but counts as an area
    return rectangles(draw, name, budget, (min(grid) // 3) ** 2, None, grid)


def random_masks(draw: Draw, name: str, ratio: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """bool (B, N): exactly the whole part of `ratio` (B,) times N places, uniformly."""
    noise = draw.uniform(name, math.prod(grid))
    count = (ratio * noise.shape[1]).astype(int)
    return noise.argsort(1, kind="stable").argsort(1) < count[:, None]
