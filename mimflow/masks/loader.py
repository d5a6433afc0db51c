"""Masks that the loader draws, as a run's parameters say."""

from __future__ import annotations

import numpy as np

from mimflow.draw import Draw
from mimflow.masks.blockwise import block_masks
from mimflow.params.rendering import Mask


def patch_masks(mask: Mask, draw: Draw, grid: tuple[int, int]) -> np.ndarray:
    """bool (B, N), True = hidden, of a grid (h, w)."""
    if mask.kind == "blocks":
        bounds = (mask.hidden, mask.smallest, mask.largest, mask.exactly)
        return block_masks(draw, grid, *bounds)
    noise = draw.uniform("mask", grid[0] * grid[1])
    return noise.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable") < mask.hidden
