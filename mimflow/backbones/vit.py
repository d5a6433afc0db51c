"""The plain ViT: timm's model, opened so that patches are masked before they are embedded.

The module is timm's own, so its state dict is what `timm.create_model(...).load_state_dict`
expects. This file adds the verbs of a masking backbone: `encode` embeds and transforms only the
tokens it is given.
"""

from __future__ import annotations

from typing import Any, cast

import timm
import torch
from timm.layers import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimflow.backbones.initialise import xavier
from mimflow.backbones.positions import sincos
from mimflow.tokens import take


def build_vit(name: str, kwargs: dict[str, Any]) -> VisionTransformer:
    """timm's ViT `name` with fixed sine-cosine positions and MAE's initialisation.

    Raises ValueError where timm has no such ViT or its arguments do not fit.
    """
    try:
        vit = timm.create_model(name, pretrained=False, **kwargs)
    except (TypeError, RuntimeError, AssertionError) as error:
        raise ValueError(f"encoder: timm can not build {name} with {kwargs}: {error}") from None
    if not isinstance(vit, VisionTransformer) or not vit.has_class_token:
        raise ValueError(f"encoder: {name} is not a plain ViT with a class token")
    xavier(vit)
    nn.init.normal_(cast(Tensor, vit.cls_token), std=0.02)
    table = sincos(vit.embed_dim, vit.patch_embed.grid_size)[None]
    vit.pos_embed = nn.Parameter(table, requires_grad=False)  # a parameter: it is in timm's state
    return vit


def fuse_attention(module: nn.Module, device: torch.device, backward: bool) -> None:
    """One attention for each use: torch's fused call, or written out for training on a CPU.

    There the backward pass of the fused call makes the bf16 step of a small ViT 2.8 times slower;
    without one the fused call is never behind (docs/performance.md). Both agree to rounding.
    """
    for part in module.modules():
        if isinstance(part, Attention):
            # final for TorchScript only
            part.fused_attn = not backward or device.type != "cpu"  # type: ignore[misc]


def patch_size(vit: VisionTransformer) -> int:
    """The side of a patch in pixels."""
    return vit.patch_embed.patch_size[0]


def embed(vit: VisionTransformer, patches: Tensor, visible: Tensor | None = None) -> Tensor:
    """Tokens (B, 1 + V, D) of the patches (B, N, P) at `visible` (B, V): class token first.

    Positions belong to the place in the image: they are taken with the patches. None: all N, in
    raster order.
    """
    table, first = cast(Tensor, vit.pos_embed), cast(Tensor, vit.cls_token)
    position = table[:, 1:].expand(patches.shape[0], -1, -1)  # (B, N, D)
    if visible is not None:
        patches, position = take(patches, visible), take(position, visible)  # (B, V, P), (B, V, D)
    projection = vit.patch_embed.proj
    weight = projection.weight.permute(0, 2, 3, 1).flatten(1)  # (D, P): row, column, channel
    x = nn.functional.linear(patches, weight, projection.bias) + position  # (B, V, D)
    first = (first + table[:, :1]).expand(patches.shape[0], -1, -1)
    return torch.cat([first.to(x.dtype), x], dim=1)


def encode(vit: VisionTransformer, patches: Tensor, visible: Tensor | None = None) -> Tensor:
    """Latents (B, 1 + V, D) after the final norm, of the patches (B, N, P) at `visible` (B, V)."""
    return vit.norm(vit.blocks(embed(vit, patches, visible)))
