"""Masks that hide different numbers of patches, in tensors of one shape."""

from __future__ import annotations

from torch import Tensor


def first_hidden(mask: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Indices (B, M), M = `most`: the hidden patches of `mask` bool (B, N) in raster order, then
    others; and bool (B, M), which of them are hidden. No image may hide more than M.
    """
    index = mask.logical_not().int().argsort(dim=1, stable=True)[:, :most]
    return index, mask.gather(1, index)
