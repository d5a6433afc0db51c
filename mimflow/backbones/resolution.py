"""One set of weights at several image sizes: the position tables follow the size of the images.

The parameters stay those of the size that the encoder was built for, so that optimiser and
checkpoint never see a change; a table of another size is computed from them at each use.
Sine-cosine positions are a formula; Swin's windows keep their share of the image, and their tables
of relative positions are read at geometrically spaced distances (SimMIM's resizing, arXiv
2111.09886, backwards).
"""

from __future__ import annotations

import math
from functools import cache
from typing import cast

import torch
from timm.models.swin_transformer import (
    SwinTransformer,
    WindowAttention,
    get_relative_position_index,
)
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimflow.backbones.positions import sincos


def set_size(encoder: nn.Module, size: int) -> None:
    """Grid and windows of `encoder` for images of `size` pixels; no parameter changes.

    Networks that have neither take any size as they are.
    """
    if not isinstance(encoder, VisionTransformer | SwinTransformer):
        return
    if encoder.patch_embed.img_size == (size, size):
        return
    if isinstance(encoder, VisionTransformer):
        encoder.patch_embed.set_input_size((size, size))
        return
    kept = {part: part.relative_position_bias_table for part in _windows(encoder).values()}
    for part in kept:  # timm would resize it: it gets one without values
        shape = (2 * part.window_size[0] - 1) ** 2, part.num_heads
        part.relative_position_bias_table = nn.Parameter(torch.empty(shape, device="meta"))
    encoder.set_input_size(img_size=(size, size))
    for part, table in kept.items():
        part.relative_position_bias_table = table
        index = get_relative_position_index(*part.window_size).to(table.device)
        part.register_buffer("relative_position_index", index, persistent=False)


def tables(encoder: nn.Module) -> dict[str, Tensor]:
    """The tables that differ from the encoder's own parameters at the size that is set, by name."""
    if isinstance(encoder, VisionTransformer):
        own, grid = cast(Tensor, encoder.pos_embed), encoder.patch_embed.grid_size
        prefix = encoder.num_prefix_tokens
        if own.shape[1] == prefix + math.prod(grid):
            return {}
        assert not own.requires_grad, "learned positions are no formula"
        return {"pos_embed": _sincos(encoder.embed_dim, grid, prefix, own.device)}
    if not isinstance(encoder, SwinTransformer):
        return {}
    found = {}
    for name, part in _windows(encoder).items():
        own, now = part.relative_position_bias_table, part.window_size[0]
        built = (math.isqrt(own.shape[0]) + 1) // 2
        if built != now:
            found[f"{name}.relative_position_bias_table"] = _other(built, now, own.device) @ own
    return found


def _windows(encoder: SwinTransformer) -> dict[str, WindowAttention]:
    return {n: part for n, part in encoder.named_modules() if isinstance(part, WindowAttention)}


@cache
def _sincos(width: int, grid: tuple[int, int], prefix: int, device: torch.device) -> Tensor:
    return sincos(width, grid, prefix)[None].to(device)


@cache
def _other(built: int, now: int, device: torch.device) -> Tensor:
    """((2 now - 1)^2, (2 built - 1)^2): the table of windows of side `now` from that of `built`, by
    linear interpolation along each axis.
    """
    along = torch.zeros(2 * now - 1, 2 * built - 1, dtype=torch.float64)
    for i, distance in enumerate(distances(now, built)):
        low = min(math.floor(distance), max(built - 2, 0))
        for step, share in ((low, 1 - (distance - low)), (low + 1, distance - low)):
            for sign in (1, -1):
                if share:
                    along[now - 1 + sign * i, built - 1 + sign * step] = share
    return torch.kron(along, along).float().to(device)


def distances(now: int, built: int) -> list[float]:
    """Where the distances 0 to `now` - 1 of a window of side `now` lie in one of side `built`: 0,
    1, 1 + q, 1 + q + q^2 ..., the last at `built` - 1.
    """
    low, high = 0.0, float(built)
    for _ in range(100):  # bisection
        q = (low + high) / 2
        low, high = (q, high) if sum(q**i for i in range(now - 1)) < built - 1 else (low, q)
    q = (low + high) / 2
    found = [min(sum(q**i for i in range(count)), built - 1.0) for count in range(now)]
    return [*found[:-1], built - 1.0] if now > 1 else [0.0]
