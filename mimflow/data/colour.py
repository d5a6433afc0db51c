"""Colours of a view changed at random, on the device: jitter, grey, blur, solarise, in this order
(SimCLR, arXiv 2002.05709; BYOL, arXiv 2006.07733).

Every image has its own numbers, drawn by the loader. Jitter goes brightness, contrast, saturation,
hue (the papers shuffle these), and the hue turns in YIQ, which is one matrix, instead of HSV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

NUMBERS = 9  # uniform ones that an image needs
LUMA = (0.299, 0.587, 0.114)
_YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
SIGMAS = (0.1, 2.0)  # of a blur, in pixels


def changed(
    x: Tensor,
    numbers: Tensor,
    jitter: Sequence[float],
    jitter_chance: float,
    grey: float,
    blur: float,
    solarise: float,
) -> Tensor:
    """Images `x` (B, 3, H, W) in [0, 1] with `numbers` (B, NUMBERS) in [0, 1); chances as named."""
    u = numbers[:, :, None, None, None].unbind(1)  # NUMBERS of (B, 1, 1, 1)
    x = torch.where(u[0] < jitter_chance, _jittered(x, u[1:5], jitter), x)
    x = torch.where(u[5] < grey, _luma(x).expand_as(x), x)
    if blur:
        low, high = SIGMAS
        x = torch.where(u[6] < blur, _blurred(x, low + (high - low) * u[7].flatten()), x)
    return torch.where((u[8] < solarise) & (x >= 0.5), 1 - x, x)


def _luma(x: Tensor) -> Tensor:
    weights = x.new_tensor(LUMA)[:, None, None]
    return (x * weights).sum(1, keepdim=True)  # (B, 1, H, W)


def _jittered(x: Tensor, u: Sequence[Tensor], amounts: Sequence[float]) -> Tensor:
    bright, contrast, saturate = (
        1 + a * (2 * v - 1) for a, v in zip(amounts[:3], u[:3], strict=True)
    )
    x = (x * bright).clamp(0, 1)
    mean = _luma(x).mean((2, 3), keepdim=True)
    x = (mean + (x - mean) * contrast).clamp(0, 1)
    level = _luma(x)
    x = (level + (x - level) * saturate).clamp(0, 1)
    return _turned(x, 2 * math.pi * amounts[3] * (2 * u[3].flatten() - 1))


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    """The hue turned by `angle` (B,) in radians, the luma kept."""
    there = x.new_tensor(_YIQ)
    turn = torch.zeros(len(x), 3, 3, dtype=x.dtype, device=x.device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 2, 1] = angle.sin()
    turn[:, 1, 2] = -angle.sin()
    matrix = torch.linalg.inv(there) @ turn @ there  # (B, 3, 3)
    return torch.einsum("bij,bjhw->bihw", matrix, x).clamp(0, 1)


def _blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with its own `sigma` (B,) for each image; the border is mirrored."""
    reach = min(math.ceil(3 * SIGMAS[1]), x.shape[-1] - 1)
    offset = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = (-(offset**2) / (2 * sigma[:, None] ** 2)).exp()  # (B, 2 reach + 1)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]
    rows = x.flatten(0, 1)[None]  # (1, 3 B, H, W)
    rows = conv2d(
        pad(rows, (reach, reach, 0, 0), "reflect"), kernel[:, :, None], groups=len(kernel)
    )
    down = kernel[..., None]
    rows = conv2d(pad(rows, (0, 0, reach, reach), "reflect"), down, groups=len(kernel))
    return rows[0].unflatten(0, (-1, 3))
