"""CLIP's vision tower written out from its paper, with its own names: a reference for imports."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        parts = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU())]
        parts += [("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.ln_1(x)
        y, look = self.attn(y, y, y, average_attn_weights=True)
        x = x + y
        return x + self.mlp(self.ln_2(x)), look


class Tower(nn.Module):
    """`state_dict` has the names of the published files; forward gives what teachers give."""

    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int, out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        count = (size // patch) ** 2
        self.positional_embedding = nn.Parameter(torch.randn(1 + count, width) * width**-0.5)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.proj = nn.Parameter(torch.randn(width, out) * width**-0.5)
        for name, p in self.named_parameters():
            if p.ndim == 1 and name != "class_embedding":  # norms and biases that matter
                nn.init.normal_(p, float("ln" in name and "weight" in name), 0.2)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, N, P) and class token (B, P), projected; attention (B, N)."""
        x = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], 1) + self.positional_embedding)
        for block in self.transformer.resblocks:
            x, look = block(x)
        x = self.ln_post(x) @ self.proj
        return x[:, 1:], x[:, 0], look[:, 0, 1:]
