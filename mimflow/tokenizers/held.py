"""How good a tokenizer is on held-out pictures: what its card says.

Errors are means over all pixels of all pictures in [0, 1]; PSNR is 10 log10(1 / mean square). The
yardstick is a picture whose patches have their mean colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from mimflow.data.augment import fit
from mimflow.data.shards import Shards
from mimflow.tokenizers.frozen import Frozen
from mimflow.tokenizers.usage import perplexity

BATCH = 100


def pictures_of(
    shards: Shards, numbers: Sequence[int] | np.ndarray, size: int, max_pixels: int
) -> Iterator[Tensor]:
    """float32 (B, 3, S, S) in [0, 1]: the middle of each of the images `numbers`."""
    for start in range(0, len(numbers), BATCH):
        images = fit(
            [shards.pixels(int(i), max_pixels) for i in numbers[start : start + BATCH]], size
        )
        yield torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def held_out(shards: Shards, count: int, size: int, max_pixels: int) -> Iterator[Tensor]:
    """The first `count` pictures of the split."""
    return pictures_of(shards, range(min(count, len(shards))), size, max_pixels)


@torch.no_grad()
def measure(
    tokenizer: Frozen, rebuilt: Callable[[Tensor], Tensor | None], batches: Iterator[Tensor]
) -> tuple[dict[str, Any], Tensor]:
    """{images, usage, perplexity, psnr, psnr_of_patch_means, gain} and the histogram (K,) of the
    codes. psnr and gain, in dB, are None where there are no rebuilt pictures.
    """
    device = next(tokenizer.parameters()).device
    counts = torch.zeros(tokenizer.num_codes, dtype=torch.float64)
    images, squares, flat, values = 0, 0.0, 0.0, 0
    for batch in batches:
        x = batch.to(device)
        codes = tokenizer.codes(x).flatten().cpu()
        counts += torch.bincount(codes, minlength=tokenizer.num_codes)
        patch = x.shape[-1] // tokenizer.grid[-1]
        means = interpolate(avg_pool2d(x, patch), scale_factor=patch)
        again = rebuilt(x)
        images, values = images + len(x), values + x.numel()
        flat += float((means - x).square().double().sum())
        squares += float("nan") if again is None else float((again - x).square().double().sum())
    means_psnr, psnr = decibel(flat / values), decibel(squares / values)
    facts = {
        "images": images,
        "usage": float((counts > 0).double().mean()),
        "perplexity": round(float(perplexity(counts)), 4),
        "psnr_of_patch_means": round(means_psnr, 4),
        "psnr": None if np.isnan(psnr) else round(psnr, 4),
        "gain": None if np.isnan(psnr) else round(psnr - means_psnr, 4),
    }
    return facts, counts


def decibel(mean_square: float) -> float:
    """PSNR of pixels in [0, 1]; 100 for equal pictures."""
    return float(-10 * np.log10(max(mean_square, 1e-10))) if mean_square == mean_square else np.nan


@torch.no_grad()
def mean_distance(tokenizer: Frozen, batches: Iterator[Tensor]) -> float:
    """The mean squared distance to the nearest code, of a tokenizer whose `distance` is 1."""
    device = next(tokenizer.parameters()).device
    found = [-tokenizer.logits(x.to(device)).amax(-1).double().mean().cpu() for x in batches]
    return max(float(torch.stack(found).mean()), 1e-6)
