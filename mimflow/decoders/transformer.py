"""The filling decoder of MAE: mask tokens stand in for the hidden patches, a few ViT blocks join
them. What is made of a visible patch in the last block is never looked at, so it is not made.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from mimflow.backbones.initialise import xavier
from mimflow.backbones.positions import sincos
from mimflow.tokens import take


class LastBlock(Block):
    """A block of timm's whose last `count` tokens look at all; the others are only looked at."""

    def forward(self, x: Tensor, count: int) -> Tensor:  # type: ignore[override]
        """(B, count, E) of `x` (B, L, E)."""
        block: Any = self
        attention, normed, width = block.attn, block.norm1(x), x.shape[-1]
        weight, bias = attention.qkv.weight, attention.qkv.bias
        seen = x.shape[1] - count
        query = linear(normed[:, seen:], weight[:width], bias[:width])  # (B, count, E)
        joint = linear(normed, weight[width:], bias[width:])  # (B, L, 2 E)
        q = query.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)  # (B, H, count, E / H)
        k, v = joint.unflatten(2, (2, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if attention.fused_attn:
            out = scaled_dot_product_attention(q, k, v)
        else:
            out = ((q * attention.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x[:, seen:] + attention.proj(out.transpose(1, 2).flatten(2))
        return x + block.mlp(block.norm2(x))


class TransformerDecoder(nn.Module):
    """Tokens (B, M, E) of the hidden patches from the latents of the visible ones.

    No un-shuffle: a token's place is told by the position added to it; class token, visible and
    hidden ones stand in this order.
    """

    def __init__(self, latent: int, width: int, depth: int, heads: int, grid: tuple[int, int]):
        super().__init__()
        self.embed = nn.Linear(latent, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("position", sincos(width, grid)[None])  # (1, 1 + N, E)
        norm = nn.LayerNorm
        kinds = [Block] * (depth - 1) + [LastBlock]
        blocks = [kind(width, heads, qkv_bias=True, norm_layer=norm) for kind in kinds]
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
        return self.norm(self.blocks[-1](self.blocks[:-1](x), hidden.shape[1]))
