"""Targets as maps (B, V, h, w): V values for each square of `side` pixels, and how to look at them.

`by_patch` (mimflow/targets/hog.py) cuts a map into patches, `by_cell` puts them together again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimflow.targets.hog import by_patch, hog
from mimflow.targets.pixels import patchify, standardise, unpatchify


@dataclass(frozen=True)
class HogMap:
    """Histograms of oriented gradients (mimflow/targets/hog.py) in cells of `side` pixels."""

    bins: int
    side: int
    window: int | None
    normalise: bool

    @property
    def values(self) -> int:
        """V of images with three colours."""
        return 3 * self.bins

    def __call__(self, images: Tensor) -> Tensor:
        """The map of images (B, C, H, W), float32, no gradient."""
        return hog(images, self.bins, self.side, self.window, self.normalise)

    def picture(self, cells: Tensor, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in the range of `images`: in each cell a line for each direction, as
        bright as its share is large.
        """
        place = torch.arange(self.side, device=cells.device) - (self.side - 1) / 2
        turn = (torch.arange(self.bins, device=cells.device) + 0.5) * (math.pi / self.bins)
        across, down = turn.sin()[:, None, None], turn.cos()[:, None, None]  # of the gradient
        lines = (1 - (place[:, None] * down + place * across).abs()).clamp(min=0)
        shares = cells.unflatten(1, (-1, self.bins)).clamp(min=0)
        drawn = torch.einsum("bckhw,kij->bchiwj", shares, lines).flatten(4).flatten(2, 3)
        low, high = images.amin(), images.amax()
        return low + (high - low) * drawn / drawn.amax().clamp(min=1e-6)


@dataclass(frozen=True)
class PixelMap:
    """The pixels of patches of `side` pixels, standardised per patch if `norm_pixels`."""

    side: int
    norm_pixels: bool

    @property
    def values(self) -> int:
        """V of images with three colours."""
        return 3 * self.side**2

    def __call__(self, images: Tensor) -> Tensor:
        """The map of images (B, C, H, W), float32, no gradient."""
        patches = patchify(images.detach().float(), self.side)  # (B, N, P)
        patches = standardise(patches) if self.norm_pixels else patches
        return by_cell(patches, 1, self._grid(images))

    def picture(self, cells: Tensor, images: Tensor) -> Tensor:
        """Images (B, C, H, W); the scale of each true patch is given back."""
        patches, truth = by_patch(cells, 1), patchify(images, self.side)
        if self.norm_pixels:
            patches = patches * truth.std(-1, keepdim=True) + truth.mean(-1, keepdim=True)
        return unpatchify(patches, self.side, self._grid(images))

    def _grid(self, images: Tensor) -> tuple[int, int]:
        return images.shape[-2] // self.side, images.shape[-1] // self.side


def by_cell(patches: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    """The map (B, V, h, w) of patches (B, N, V * side * side) in a grid (h / side, w / side)."""
    return nn.functional.pixel_shuffle(patches.transpose(1, 2).unflatten(2, grid), side)
