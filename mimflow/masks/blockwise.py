"""Block-wise masking as BEiT draws it (Bao et al., arXiv 2106.08254; reference code): rectangles
until enough patches are hidden.

v1 stops with fewer where ten tries in a row add nothing; v2 (arXiv 2208.06366) tops the mask up
with single patches.
"""

from __future__ import annotations

import numpy as np

from mimflow.draw import Draw
from mimflow.masks.rectangles import rectangles


def block_masks(
    draw: Draw,
    grid: tuple[int, int],
    hidden: int,
    smallest: int,
    largest: int | None,
    exactly: bool,
) -> np.ndarray:
    """bool (B, N), True = hidden: at most `hidden` patches of each image, or `exactly` as many.

    Row b depends on row b of `draw` alone.
    """
    budget = np.full(len(draw.rows), hidden)
    masks = rectangles(draw, "blocks", budget, smallest, largest, grid)
    return _topped_up(masks, draw, hidden) if exactly else masks


def _topped_up(masks: np.ndarray, draw: Draw, hidden: int) -> np.ndarray:
    """`masks` (B, N) with single patches, each as likely, until `hidden` are hidden."""
    noise = np.where(masks, -1.0, draw.uniform("blocks.rest", masks.shape[1]))
    rank = noise.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return rank < hidden
