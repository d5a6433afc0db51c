"""Colour of crops as self-distillation distorts it (SimCLR, arXiv 2002.05709; BYOL, arXiv
2006.07733): jitter, grey, blur, solarise, in this order.

Numbers are drawn for each image with its crop (`mimflow/data/crops.py`) and travel beside it; the
device does the work on the whole batch. The four parts of a jitter keep one order (brightness,
contrast, saturation, hue), where torchvision draws one for each image. W numbers of an image:
brightness, contrast, saturation (times, 1 changes nothing), hue (turns), grey, solarise (0 or 1),
and where crops may be blurred the deviation in pixels (0: none).
"""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
REACH = 6  # pixels that a blur looks to each side: three of the largest deviation


def coloured(images: Tensor, numbers: Tensor) -> Tensor:
    """Images uint8 (B, S, S, 3) by their numbers (B, W), as float32 of 0 to 255."""
    x = images.permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
    light, contrast, strength, turn, grey, solar = numbers[:, :6, None, None, None].unbind(1)
    x = (x * light).clamp(0, 1)
    x = _toward(luma(x).mean((2, 3), keepdim=True), x, contrast)
    x = _toward(luma(x), x, strength)
    x = turned(x, turn[:, 0])
    x = torch.where(grey > 0, luma(x), x)
    if numbers.shape[1] > 6:
        x = blurred(x, numbers[:, 6])
    x = torch.where((solar > 0) & (x >= 127.5 / 255), 1 - x, x)  # 128 and more
    return (x * 255).permute(0, 2, 3, 1)


def luma(x: Tensor) -> Tensor:
    """(B, 1, H, W): the grey of (B, 3, H, W)."""
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def _toward(ground: Tensor, x: Tensor, share: Tensor) -> Tensor:
    return (ground + (x - ground) * share).clamp(0, 1)


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """`x` (B, 3, H, W) in [0, 1] with its hue moved by `turn` (B, 1, 1) of a whole circle."""
    (r, g, b), value = x.unbind(1), x.amax(1)
    chroma = value - x.amin(1)
    part = chroma.clamp(min=1e-12)
    hue = torch.where(value == g, 2 + (b - r) / part, 4 + (r - g) / part)
    hue = torch.where(value == r, (g - b) / part, hue) + 6 * turn  # in sixths of the circle
    place = (hue[:, None] + x.new_tensor([5.0, 3.0, 1.0])[:, None, None]) % 6  # (B, 3, H, W)
    share = torch.minimum(place, 4 - place).clamp(0, 1)
    return value[:, None] - chroma[:, None] * share


def blurred(x: Tensor, deviation: Tensor) -> Tensor:
    """`x` (B, C, H, W) under a Gaussian of each image's `deviation` (B,) in pixels, 0 for none;
    edges repeat.
    """
    count, channels, _, _ = x.shape
    steps = torch.arange(-REACH, REACH + 1, device=x.device)
    weight = (-0.5 * (steps / deviation.clamp(min=1e-3)[:, None]).square()).exp()  # (B, 2 r + 1)
    weight = (weight / weight.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None, None]
    out = x.reshape(1, -1, *x.shape[2:])  # (1, B C, H, W)
    for pad, kernel in (((REACH, REACH, 0, 0), weight), ((0, 0, REACH, REACH), weight.mT)):
        out = torch.nn.functional.pad(out, pad, mode="replicate")
        out = torch.nn.functional.conv2d(out, kernel, groups=count * channels)
    return out.reshape(x.shape)
