"""Pictures of visual words: a colour for each word, far from those of its neighbours by number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mimflow.masks.paint import pixels_of

FACTORS = (0.6180339887, 0.7548776662, 0.5698402910)  # irrational: neighbours look different


def word_pictures(
    images: Tensor, mask: Tensor, encoder: Any, words: Tensor, guess: Tensor
) -> dict[str, Tensor]:
    """Pictures (B, C, H, W) of images, their mask bool (B, N), and two maps of words (B, N)."""
    patch = encoder.patch_embed.patch_size[0]
    where = pixels_of(mask, images.shape[-2:], patch)
    low, high = images.amin(), images.amax()
    painted = {
        name: low + (high - low) * coloured(x, encoder.patch_embed.grid_size, patch)
        for name, x in (("words", words), ("predicted", guess))
    }
    return {"input": images, "masked": images.masked_fill(where, 0.0), **painted}


def coloured(words: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """Words (B, N) as colours (B, 3, H, W) in [0, 1), one for each word."""
    factors = torch.tensor(FACTORS, device=words.device)
    x = ((words[:, None] + 1) * factors[:, None]).frac()  # (B, 3, N)
    x = x.unflatten(2, grid).repeat_interleave(patch, 2)
    return x.repeat_interleave(patch, 3)
