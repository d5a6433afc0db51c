"""The BEiT-style ViT: timm's model, with relative positions as a bias on attention, layer scale and
a class token (Bao et al., arXiv 2106.08254; SimMIM's ViT is the same, arXiv 2111.09886).

The module is timm's own, so its state dict is what `timm.create_model(...).load_state_dict`
expects. It has no mask token: that belongs to the method, and is not in the encoder's file.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from timm.models.beit import Beit, Block
from torch import Tensor, nn

from mimflow.backbones.initialise import create
from mimflow.draw import Draw


def build_beit(name: str, kwargs: dict[str, Any]) -> Beit:
    """timm's BEiT `name` with the first weights of BEiT's reference code.

    Raises ValueError where timm has no such model or its arguments do not fit.
    """
    beit = create(name, kwargs)
    if not isinstance(beit, Beit):
        raise ValueError(f"encoder: {name} is not a BEiT")
    for part in beit.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            narrow(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    narrow(beit.cls_token)
    if beit.pos_embed is not None:
        narrow(beit.pos_embed)
    with torch.no_grad():
        for number, block in enumerate(cast(list[Block], list(beit.blocks)), start=1):
            block.attn.proj.weight /= math.sqrt(2 * number)
            block.mlp.fc2.weight /= math.sqrt(2 * number)
    return beit


def narrow(x: Tensor) -> None:
    """Normal with deviation 0.02, cut there already: the real deviation is 0.0108."""
    nn.init.trunc_normal_(x, std=0.02, a=-0.02, b=0.02)


def replace(beit: Beit, x: Tensor, mask: Tensor, token: Tensor) -> Tensor:
    """Latents (B, 1 + N, D) after the final norm, of embedded patches `x` (B, N, D): `token`
    (1, 1, D) stands in for the hidden ones, `mask` bool (B, N), before any absolute position.
    """
    x = torch.where(mask[..., None], token.to(x.dtype), x)
    x = torch.cat([beit.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)  # (B, 1 + N, D)
    if beit.pos_embed is not None:
        x = x + beit.pos_embed
    bias = beit.rel_pos_bias() if beit.rel_pos_bias is not None else None  # (heads, T, T)
    for block in beit.blocks:
        x = block(x, shared_rel_pos_bias=bias)
    return beit.norm(x)


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): for some images a branch adds nothing; for the others it
    adds as much more. Which images is drawn before the pass, by `draw_paths`.
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share
        self.factor: Tensor | None = None  # (B, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, T, D) by each image's factor; as it is in evaluation."""
        return x * self.factor if self.training and self.factor is not None else x


def add_drop_paths(beit: Beit, last: float) -> None:
    """Puts them into the blocks: the share grows evenly from 0 in the first to `last`."""
    blocks = cast(list[Block], list(beit.blocks))
    for number, block in enumerate(blocks):
        share = last * number / max(len(blocks) - 1, 1)
        for name in ("drop_path1", "drop_path2"):
            block.add_module(name, DropPath(share))


def draw_paths(beit: nn.Module, draw: Draw | None) -> None:
    """Draws which images skip which branch in the next pass; None: none do."""
    for number, part in enumerate(p for p in beit.modules() if isinstance(p, DropPath)):
        part.factor = None
        if draw is not None and part.share:
            stays = draw.uniform(f"path.{number}", 1) >= part.share  # (B, 1)
            part.factor = stays[..., None] / (1 - part.share)
