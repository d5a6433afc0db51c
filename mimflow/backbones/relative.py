"""LoMaR's ViT (Chen et al., arXiv 2206.00790): no absolute positions; attention asks how far apart
two patches lie (image-relative encoding on keys, "product", arXiv 2107.14222).

Not a plain timm model: timm's attention has no such term. The blocks are timm's, with this
attention in them; `mimflow.encoder.load_encoder` builds and loads it. d width of a head.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimflow.backbones.initialise import create, xavier

STEPS = 7  # buckets of an axis, -3 to 3
CLASS = STEPS * STEPS  # the bucket of every pair with the class token


def bucket(offset: Tensor) -> Tensor:
    """The bucket -3..3 of `offset` = query - key along one axis: exact to 1, then 2 for distances
    2 and 3, then 3 (piecewise with alpha 1.9, beta 3.8, gamma 15.2 in the reference code).
    """
    far = offset.abs().double().clamp(min=1)
    grown = 1.9 + 1.9 * (far / 1.9).log() / math.log(8)
    coarse = grown.round().clamp(max=3.8).long()  # cut to an integer: 3 at most
    return torch.where(offset.abs() <= 1, offset, offset.sign() * coarse)


def bucket_ids(side: int) -> Tensor:
    """int64 (T, T), T = 1 + side * side: the bucket of query row and key column, class token first,
    patches of a square in raster order.
    """
    place = torch.arange(side)
    row, column = place.repeat_interleave(side), place.repeat(side)
    down, right = (bucket(x[:, None] - x[None]) for x in (row, column))
    ids = torch.full((1 + side * side,) * 2, CLASS)
    ids[1:, 1:] = STEPS * (down + 3) + right + 3
    return ids


def relative_term(q: Tensor, table: Tensor, ids: Tensor) -> Tensor:
    """(B, heads, T, T): each query of `q` (B, heads, T, d) times the vector of its bucket.

    One product with the vectors laid out by pair (d, T, T): no gather of logits, whose gradient is
    slow, and not deterministic on a GPU.
    """
    return torch.einsum("bhid,dij->bhij", q, table[:, ids])


class RelativeAttention(nn.Module):
    """Attention whose logits add q times a vector for the distance of query and key; one `table`
    (d, 50) for all heads, zero at first. Queries are scaled in the first term only.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.num_heads, self.fused_attn = heads, True
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(torch.zeros(width // heads, CLASS + 1))

    def forward(self, x: Tensor, attn_mask: Tensor, is_causal: bool = False) -> Tensor:
        """Of tokens (B, T, D); `attn_mask`, as timm's block calls it, has the bucket ids (T, T)."""
        b, t, width = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # (B, heads, T, d)
        if q.dtype == torch.float16:  # the unscaled query overflows there
            with torch.autocast(x.device.type, enabled=False):
                mixed = self.mixed(q.float(), k.float(), v.float(), attn_mask).half()
        else:
            mixed = self.mixed(q, k, v, attn_mask)
        return self.proj(mixed.transpose(1, 2).reshape(b, t, width))

    def mixed(self, q: Tensor, k: Tensor, v: Tensor, ids: Tensor) -> Tensor:
        """Values (B, heads, T, d) by attention."""
        relative = relative_term(q, self.table, ids)
        if self.fused_attn:
            return nn.functional.scaled_dot_product_attention(q, k, v, relative.to(q.dtype))
        return ((q * q.shape[-1] ** -0.5) @ k.mT + relative).softmax(-1) @ v


class RelativeViT(nn.Module):
    """A ViT with that attention; has what is asked of a timm model: `forward_features`,
    `patch_embed`, `num_features`, `num_prefix_tokens`.
    """

    num_prefix_tokens = 1

    def __init__(self, vit: VisionTransformer):
        super().__init__()
        self.embed_dim = self.num_features = vit.embed_dim
        self.patch_embed, self.cls_token = vit.patch_embed, vit.cls_token
        self.blocks, self.norm = vit.blocks, vit.norm
        for block in self.blocks:
            heads = cast(int, cast(nn.Module, block.attn).num_heads)
            block.attn = RelativeAttention(vit.embed_dim, heads)
        side = vit.patch_embed.grid_size[0]
        self.register_buffer("ids", bucket_ids(side), persistent=False)  # (1 + N, 1 + N)

    def forward_features(self, images: Tensor) -> Tensor:
        """Latents (B, 1 + N, D) after the final norm, of images (B, 3, H, W)."""
        return self.transformed(self.patch_embed(images), self.patch_embed.grid_size[0])

    def transformed(self, x: Tensor, side: int) -> Tensor:
        """Latents (B, 1 + K, D) of embedded patches `x` (B, K, D), a square of K = side * side."""
        first = cast(Tensor, self.cls_token).to(x.dtype)
        x = torch.cat([first.expand(len(x), -1, -1), x], dim=1)
        ids = self.window(side)
        for block in self.blocks:
            x = block(x, attn_mask=ids)
        return self.norm(x)

    def window(self, side: int) -> Tensor:
        """The ids of a square of `side` patches: those of a corner of the grid, since only
        distances count.
        """
        ids, grid = cast(Tensor, self.ids), self.patch_embed.grid_size[0]
        patches = ids[1:, 1:].view(grid, grid, grid, grid)[:side, :side, :side, :side]
        inner = patches.reshape(side * side, -1)
        return nn.functional.pad(inner, (1, 0, 1, 0), value=CLASS)


def build_relative(name: str, kwargs: dict[str, Any]) -> RelativeViT:
    """timm's ViT `name` without positions and with relative attention, initialised as MAE's.

    Raises ValueError where timm has no such ViT or its arguments do not fit.
    """
    vit = create(name, {**kwargs, "pos_embed": "none"})
    if not isinstance(vit, VisionTransformer) or not vit.has_class_token:
        raise ValueError(f"encoder: {name} is not a plain ViT with a class token")
    relative = RelativeViT(vit)
    xavier(relative)
    nn.init.normal_(cast(Tensor, relative.cls_token), std=0.02)
    return relative


def replace(
    vit: RelativeViT, x: Tensor, mask: Tensor, token: Tensor, places: Tensor | None = None
) -> Tensor:
    """Latents (B, 1 + K, D) of embedded patches `x` (B, K, D), a square in raster order: `token`
    (1, 1, D) stands in for the hidden ones, `mask` bool (B, K). Where the square lies, `places`,
    makes no difference.
    """
    x = torch.where(mask[..., None], token.to(x.dtype), x)
    return vit.transformed(x, math.isqrt(x.shape[1]))
