"""Histograms of oriented gradients as targets: what edges lie in each small cell of an image.

As FastMIM (arXiv 2212.06593) and MaskFeat (arXiv 2112.09133) use them: hard votes, no overlap of
cells, no normalisation over blocks of cells. `h`, `w` count cells here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


@torch.no_grad()
def hog(images: Tensor, bins: int, cell: int, window: int | None, normalise: bool) -> Tensor:
    """(B, C * bins, h, w) of images (B, C, H, W), cells of `cell` x `cell` pixels; colour by
    colour, a half turn in `bins` directions each. Float32, no gradient.

    `window`: the side of a Gaussian window that weighs the pixels, tiled from the top left corner
    (MaskFeat: 16; FastMIM: None). `normalise`: each histogram to length 1, or 0 where it is flat.
    In the first and the last column the horizontal gradient is 0: its votes are in bin 0 here, in
    the first or the last elsewhere. Raises ValueError where cells do not fill the image.
    """
    across, down = gradients(images.float())  # (B, C, H, W)
    length = torch.hypot(across, down)
    if window is not None:
        length *= gaussian(window, images)
    # The reference has the arguments of atan2 in this order: an upright edge is in the middle bin.
    turn = across.atan2_(down).mul_(bins / math.pi)  # -bins to bins
    vote = turn.floor_().remainder_(bins)
    b, c, height, width = images.shape
    if height % cell or width % cell:
        raise ValueError(f"images of {height} x {width} pixels do not divide into cells of {cell}")
    h, w = height // cell, width // cell
    row, column = (torch.arange(n, device=images.device) // cell for n in (height, width))
    plane = torch.arange(b * c, device=images.device).reshape(b, c, 1, 1) * (h * w * bins)
    index = vote.add_((row[:, None] * w + column) * bins).long().add_(plane)
    sums = length.new_zeros(b * c * h * w * bins)
    sums.scatter_add_(0, index.flatten(), length.flatten())  # 1-D: has a deterministic kernel
    histograms = sums.reshape(b * c, h, w, bins)
    if normalise:
        histograms = nn.functional.normalize(histograms, dim=-1, eps=1e-12)
    return histograms.permute(0, 3, 1, 2).reshape(b, c * bins, h, w)


def gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Left minus right and upper minus lower, (B, C, H, W) each, smoothed along the other axis by
    1 2 1 (Sobel); the image is mirrored at its border.
    """
    x = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
    rows = (x[:, :, :-2] + x[:, :, 2:]).add_(x[:, :, 1:-1], alpha=2)  # (B, C, H, W + 2)
    columns = (x[..., :-2] + x[..., 2:]).add_(x[..., 1:-1], alpha=2)  # (B, C, H + 2, W)
    return rows[..., :-2] - rows[..., 2:], columns[:, :, :-2] - columns[:, :, 2:]


def gaussian(side: int, images: Tensor) -> Tensor:
    """(H, W): a Gaussian of deviation `side` / 2 and sum 1 on `side` x `side` pixels, repeated."""
    place = torch.arange(side, device=images.device) - (side - 1) / 2
    bell = torch.exp(-0.5 * (place / (side / 2)) ** 2)
    bell = bell / bell.sum()
    down, across = (torch.arange(n, device=images.device) % side for n in images.shape[-2:])
    return bell[down, None] * bell[across]


def by_patch(cells: Tensor, side: int) -> Tensor:
    """Maps (B, V, h, w) as (B, N, V * side * side): the values of `side` x `side` cells together,
    patches in raster order; inside a patch value, row, column, column fastest.
    """
    b, values, h, w = cells.shape
    x = cells.reshape(b, values, h // side, side, w // side, side)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, values * side * side)
