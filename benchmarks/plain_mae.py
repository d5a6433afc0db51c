"""MAE in the published style, as a peer of ours in benchmarks/step.py.

All patches are embedded by a convolution before most of them are dropped; the kept ones are
gathered in the order of the noise; attention scales the whole map; the decoder puts the sequence
back in order and predicts every patch. The step reads the loss to see that it is finite, and takes
the gradient's norm tensor by tensor.
"""

from __future__ import annotations

import math

import timm
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimflow.backbones.positions import sincos
from mimflow.targets.pixels import patchify


class PlainAttention(nn.Module):
    """Attention written out, as in the timm that the published code asks for (0.3.2)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, **_: object) -> Tensor:
        """(B, N, D) of `x` (B, N, D)."""
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attention = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, d))


class PlainMAE(nn.Module):
    """MAE of timm's ViT `name`."""

    def __init__(self, name: str, kwargs: dict[str, int | str], width: int, depth: int, heads: int):
        super().__init__()
        self.encoder = timm.create_model(name, **kwargs)
        self.patch = self.encoder.patch_embed.patch_size[0]
        table = sincos(self.encoder.embed_dim, self.encoder.patch_embed.grid_size)[None]
        self.encoder.pos_embed = nn.Parameter(table, requires_grad=False)
        self.embed = nn.Linear(self.encoder.embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        grid = self.encoder.patch_embed.grid_size
        self.position = nn.Parameter(sincos(width, grid)[None], requires_grad=False)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3 * self.patch**2)
        for block in (*self.encoder.blocks, *self.blocks):
            block.attn = PlainAttention(block.attn.proj.out_features, block.attn.num_heads)

    def forward(self, images: Tensor) -> Tensor:
        """The loss of images (B, 3, H, W), 75 % hidden."""
        vit = self.encoder
        x = vit.patch_embed(images) + vit.pos_embed[:, 1:]  # (B, N, D), all of them
        b, n, d = x.shape
        order = torch.rand(b, n, device=x.device).argsort(1)
        restore, kept = order.argsort(1), order[:, : n // 4]
        x = torch.gather(x, 1, kept[..., None].repeat(1, 1, d))
        first = (vit.cls_token + vit.pos_embed[:, :1]).expand(b, -1, -1)
        x = self.embed(vit.norm(vit.blocks(torch.cat([first, x], 1))))
        blank = self.mask_token.repeat(b, n - kept.shape[1], 1)
        tokens = torch.cat([x[:, 1:], blank], 1)
        tokens = torch.gather(tokens, 1, restore[..., None].repeat(1, 1, tokens.shape[-1]))
        x = torch.cat([x[:, :1], tokens], 1) + self.position
        prediction = self.head(self.norm(self.blocks(x)))[:, 1:]  # (B, N, P)
        target = patchify(images, self.patch)
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        error = (prediction - (target - mean) / (variance + 1e-6) ** 0.5).square().mean(-1)
        mask = torch.ones(b, n, device=x.device)
        mask[:, : kept.shape[1]] = 0
        mask = torch.gather(mask, 1, restore)
        return (error * mask).sum() / mask.sum()


def step(
    model: PlainMAE, optimiser: torch.optim.Optimizer, images: Tensor, dtype: torch.dtype
) -> Tensor:
    """Takes a step on images (B, 3, H, W); returns the gradient's norm. Raises FloatingPointError
    where the loss is not finite.
    """
    optimiser.zero_grad()
    low = dtype != torch.float32
    with torch.autocast(images.device.type, dtype if low else None, enabled=low):
        loss = model(images)
    if not math.isfinite(loss.item()):
        raise FloatingPointError(f"loss is {loss.item()}")
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    optimiser.step()
    return norm
