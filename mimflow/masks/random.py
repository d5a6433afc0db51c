"""Uniform random masking with an exact count of hidden patches (MAE, arXiv 2111.06377)."""

from __future__ import annotations

import math

from torch import Tensor


def num_visible(count: int, ratio: float) -> int:
    """V = floor(N (1 - ratio)); the 1e-6 keeps 100 * (1 - 0.8) from becoming 19."""
    return math.floor(count * (1 - ratio) + 1e-6)


def random_mask(noise: Tensor, visible: int) -> tuple[Tensor, Tensor]:
    """Indices of the visible (B, V) and the hidden (B, M) patches, each in raster order.

    `noise` (B, N): the V patches with the smallest values stay visible.
    """
    order = noise.argsort(dim=1, stable=True)
    return order[:, :visible].sort(dim=1).values, order[:, visible:].sort(dim=1).values
