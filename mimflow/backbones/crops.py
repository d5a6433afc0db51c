"""The plain ViT on crops of several sizes: crops of one size go through it together, and its
learned positions are resized to each grid (DINO's multi-crop, arXiv 2104.14294).

G crops of each of B images stand crop by crop: rows 0 to B - 1 are the first crop of every image. A
crop's rows draw their own numbers. The last block's attention of the class token can be read after
a pass.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mimflow.backbones.vit import patch_size, project
from mimflow.draw import Draw
from mimflow.targets.pixels import patchify


class CropDraw(Draw):
    """The numbers of `draw` for `crops` crops of each image, in rows (G B,), crop by crop."""

    def __init__(self, draw: Draw, name: str, crops: int):
        self.draw, self.name, self.crops = draw, name, crops

    def uniform(self, name: str, count: int) -> Any:
        """float32 (G B, count)."""
        numbers = self.draw.uniform(f"{self.name}.{name}", self.crops * count)
        return numbers.unflatten(1, (self.crops, count)).transpose(0, 1).flatten(0, 1)


def positions(table: Tensor, side: int) -> Tensor:
    """A position table (1, 1 + N, D) for a grid of `side` * `side`: bicubic, the class token's row
    as it is.
    """
    old = round((table.shape[1] - 1) ** 0.5)
    if side == old:
        return table
    grid = table[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2).float()
    grid = nn.functional.interpolate(grid, size=(side, side), mode="bicubic")
    return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def encode_crops(
    vit: VisionTransformer,
    images: Tensor,
    mask: Tensor | None = None,
    token: Tensor | None = None,
) -> Tensor:
    """Latents (R, 1 + N, D) after the final norm, of images (R, C, S, S) of any size; `token`
    (1, 1, D) stands in where `mask` bool (R, N), before positions are added.
    """
    x = project(vit.patch_embed, patchify(images, patch_size(vit)))  # (R, N, D)
    if mask is not None and token is not None:
        x = torch.where(mask[..., None], token.to(x.dtype), x)
    first = cast(Tensor, vit.cls_token).to(x.dtype).expand(len(x), -1, -1)
    table = positions(cast(Tensor, vit.pos_embed), images.shape[-1] // patch_size(vit))
    return vit.norm(vit.blocks(torch.cat([first, x], dim=1) + table))  # (R, 1 + N, D)


def keep_attention(vit: VisionTransformer) -> RemovableHandle:
    """From here on each pass keeps what `class_attention` needs of the last block."""
    return _last_attention(vit).qkv.register_forward_hook(_keep)


def class_attention(vit: VisionTransformer) -> Tensor:
    """(R, N): what the class token of the last pass attended to in the last block, after softmax,
    without itself, mean over heads. One row of the products, no second pass.
    """
    attention = _last_attention(vit)
    kept = attention.qkv.kept.detach().float()  # (R, T, 3 D)
    attention.qkv.kept = None
    q, k, _ = kept.unflatten(2, (3, attention.num_heads, -1)).unbind(2)  # (R, T, heads, d)
    q, k = attention.q_norm(q[:, :1]), attention.k_norm(k)
    score = (q * k).sum(-1) * attention.scale  # (R, T, heads)
    return score.softmax(1).mean(-1)[:, 1:]


def attended(vit: VisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (R, 1 + N, D) of whole images, and `class_attention` (R, N)."""
    with keep_attention(vit), torch.compiler.set_stance("force_eager"):  # compiled: no hooks
        latent = encode_crops(vit, images)
    return latent, class_attention(vit)


def _last_attention(vit: VisionTransformer) -> Any:
    return cast(Any, vit.blocks[-1]).attn


def _keep(module: Any, inputs: Any, output: Tensor) -> None:
    module.kept = output
