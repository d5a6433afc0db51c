"""The filling decoder of MAE: mask tokens stand in for the hidden patches, a few ViT blocks join
them.
"""

from __future__ import annotations

from typing import cast

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimflow.backbones.initialise import xavier
from mimflow.backbones.positions import sincos
from mimflow.tokens import take


class TransformerDecoder(nn.Module):
    """Tokens (B, 1 + N, E) from the latents of the visible patches: class token, visible, hidden.

    No un-shuffle: a token's place is told by the position added to it, and the hidden ones stand
    last.
    """

    def __init__(self, latent: int, width: int, depth: int, heads: int, grid: tuple[int, int]):
        super().__init__()
        self.embed = nn.Linear(latent, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("position", sincos(width, grid)[None])  # (1, 1 + N, E)
        norm = nn.LayerNorm
        blocks = [Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm(width)
        for part in self.modules():
            if isinstance(part, nn.LayerNorm):
                part.eps = 1e-6  # as in every part of MAE
        xavier(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, latent: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """`latent` (B, 1 + V, D) in the order of `visible` (B, V); `hidden` (B, M)."""
        x = self.embed(latent)  # (B, 1 + V, E)
        blank = self.mask_token.to(x.dtype).expand(*hidden.shape, -1)  # (B, M, E)
        table = cast(Tensor, self.position).expand(len(x), -1, -1)
        place = take(table[:, 1:], torch.cat([visible, hidden], dim=1))  # (B, N, E)
        x = torch.cat([x, blank], dim=1) + torch.cat([table[:, :1], place], dim=1)  # (B, 1 + N, E)
        return self.norm(self.blocks(x))
