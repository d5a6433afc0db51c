"""What a teacher attends to, and the codes it gives, as pictures in the range of the images."""

from __future__ import annotations

import torch
from torch import Tensor

from mimflow.targets.pixels import unpatchify


def looked_at(images: Tensor, mask: Tensor, attention: Tensor, codes: Tensor) -> dict[str, Tensor]:
    """Images (B, C, H, W): the input, what a student sees of it through `mask` bool (B, N), what
    its teacher attends to (B, N), and the codes (B, N) that it gives, a colour for each.
    """
    return {
        "input": images,
        "masked": covered(mask, images),
        "attention": heat(attention, images),
        "codes": palette(codes, images),
    }


def heat(values: Tensor, images: Tensor) -> Tensor:
    """Images (B, C, H, W), grey: each patch as bright as its value (B, N), each image's lowest
    black, its highest white.
    """
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    return _filled(((values - low) / (high - low).clamp(min=1e-12))[..., None], images)


def palette(codes: Tensor, images: Tensor) -> Tensor:
    """Images (B, C, H, W): patches of one code (B, N) have one colour, which the code's number
    alone decides.
    """
    turns = torch.tensor([0.6180340, 0.7548777, 0.5698403], device=codes.device)
    return _filled((codes[..., None] * turns) % 1, images)  # spread evenly, (B, N, 3)


def covered(mask: Tensor, images: Tensor) -> Tensor:
    """Images (B, C, H, W), 0 where a patch of `mask` bool (B, N) is hidden."""
    return images * (_filled(mask[..., None].float(), torch.ones_like(images), 0.0) < 0.5)


def _filled(values: Tensor, images: Tensor, low: float | None = None) -> Tensor:
    """Patches of one colour (B, N, 1 or 3), each in [0, 1], over the range of the images."""
    side = round(values.shape[1] ** 0.5)
    size = images.shape[-1] // side
    bottom = images.amin() if low is None else images.new_tensor(low)
    spread = bottom + (images.amax() - bottom) * values.expand(-1, -1, 3)
    return unpatchify(spread.repeat(1, 1, size * size).to(images.dtype), size, (side, side))
