"""Masking in pixels: whole blocks of the image under one colour, so that any backbone can be used
as it is (FastMIM, arXiv 2212.06593).
"""

from __future__ import annotations

import torch
from torch import Tensor


def paint(images: Tensor, mask: Tensor, block: int, colour: Tensor) -> Tensor:
    """Images (B, C, H, W) with `colour` (1, C, 1, 1) wherever `mask` (B, N) is True, N blocks of
    `block` x `block` pixels in raster order.

    No hidden value takes part, not even one that is not finite.
    """
    return torch.where(pixels_of(mask, images.shape[-2:], block), colour, images)


def pixels_of(mask: Tensor, size: torch.Size, block: int) -> Tensor:
    """bool (B, 1, H, W), (H, W) = `size`: the mask of the pixels under the blocks of `mask` (B, N).

    Raises ValueError where blocks do not fill the image.
    """
    height, width = size
    if height % block or width % block:
        raise ValueError(f"{height} x {width} pixels do not divide into blocks of {block}")
    x = mask.reshape(-1, 1, height // block, 1, width // block, 1)
    return x.expand(-1, -1, -1, block, -1, block).reshape(-1, 1, height, width)
