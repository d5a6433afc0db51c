"""The plain ViT: timm's model, opened so that patches are masked before they are embedded.

The module is timm's own, so its state dict is what `timm.create_model(...).load_state_dict`
expects. This file adds the verbs of a masking backbone: `encode` embeds and transforms only the
patches it is given, `replace` puts a mask token in the place of the hidden ones.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimflow.backbones.initialise import create, xavier
from mimflow.backbones.positions import sincos
from mimflow.tokens import take


def build_vit(name: str, kwargs: dict[str, Any]) -> VisionTransformer:
    """timm's ViT `name` with fixed sine-cosine positions and MAE's initialisation.

    Raises ValueError where timm has no such ViT or its arguments do not fit.
    """
    vit = _plain(name, kwargs)
    xavier(vit)
    nn.init.normal_(cast(Tensor, vit.cls_token), std=0.02)
    table = sincos(vit.embed_dim, vit.patch_embed.grid_size)[None]
    vit.pos_embed = nn.Parameter(table, requires_grad=False)  # a parameter: it is in timm's state
    return vit


def build_learned(name: str, kwargs: dict[str, Any]) -> VisionTransformer:
    """timm's ViT `name` with learned positions and iBOT's first weights: linears, class token and
    positions normal with deviation 0.02; the patch convolution keeps torch's.

    Raises ValueError where timm has no such ViT or its arguments do not fit.
    """
    vit = _plain(name, kwargs)
    for part in vit.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
    vit.patch_embed.proj.reset_parameters()
    for table in (vit.cls_token, vit.pos_embed):
        nn.init.trunc_normal_(cast(Tensor, table), std=0.02)
    return vit


def _plain(name: str, kwargs: dict[str, Any]) -> VisionTransformer:
    """timm's ViT, if it is what the verbs below take: a class token, a position for each token,
    nothing between the embedding and the blocks.
    """
    vit = create(name, kwargs)
    if isinstance(vit, VisionTransformer) and vit.has_class_token and vit.num_prefix_tokens == 1:
        table, between = vit.pos_embed, (vit.norm_pre, vit.patch_embed.norm, vit.patch_drop)
        placed = isinstance(table, Tensor) and table.shape[1] == 1 + vit.patch_embed.num_patches
        if placed and all(isinstance(part, nn.Identity) for part in between):
            return vit
    raise ValueError(
        f"encoder: {name} is not a plain ViT: a class token alone before the patches, a position"
        " for each token, no norm before the blocks"
    )


def fuse_attention(module: nn.Module, device: torch.device, backward: bool) -> None:
    """One attention for each use: torch's fused call, or written out for training on a CPU.

    There the backward pass of the fused call makes the bf16 step of a small ViT 2.8 times slower;
    without one the fused call is never behind (docs/performance.md). Both agree to rounding.
    """
    for part in module.modules():
        if isinstance(getattr(part, "fused_attn", None), bool):  # timm's attentions, and ours
            part.fused_attn = not backward or device.type != "cpu"  # type: ignore[assignment]


def patch_size(vit: VisionTransformer) -> int:
    """The side of a patch in pixels."""
    return vit.patch_embed.patch_size[0]


def project(patch_embed: PatchEmbed, patches: Tensor) -> Tensor:
    """Patches (B, N, P) as tokens (B, N, D): the patch convolution as the matrix that it is."""
    projection = patch_embed.proj
    weight = projection.weight.permute(0, 2, 3, 1).flatten(1)  # (D, P): row, column, channel
    return nn.functional.linear(patches, weight, projection.bias)


def placed(vit: VisionTransformer, x: Tensor, places: Tensor | None) -> Tensor:
    """Tokens (B, 1 + V, D) of `x` (B, V, D) that stand at `places` (B, V): class token first.

    Positions belong to the place in the image. None: all N, in raster order.
    """
    table, first = cast(Tensor, vit.pos_embed), cast(Tensor, vit.cls_token)
    position = table[:, 1:].expand(x.shape[0], -1, -1)  # (B, N, D)
    x = x + (position if places is None else take(position, places))  # (B, V, D)
    first = (first + table[:, :1]).expand(x.shape[0], -1, -1)
    return torch.cat([first.to(x.dtype), x], dim=1)


def encode(vit: VisionTransformer, patches: Tensor, visible: Tensor | None = None) -> Tensor:
    """Latents (B, 1 + V, D) after the final norm, of the patches (B, N, P) at `visible` (B, V)."""
    if visible is not None:
        patches = take(patches, visible)  # (B, V, P)
    x = project(vit.patch_embed, patches)
    return vit.norm(vit.blocks(placed(vit, x, visible)))


def replace(
    vit: VisionTransformer, x: Tensor, mask: Tensor, token: Tensor, places: Tensor | None = None
) -> Tensor:
    """Latents (B, 1 + V, D) after the final norm, of embedded patches `x` (B, V, D): `token`
    (1, 1, D) stands in for the hidden ones, `mask` bool (B, V), before positions are added.

    `places` (B, V): where the patches lie in the image; None: all N, in raster order.
    """
    x = torch.where(mask[..., None], token.to(x.dtype), x)
    return vit.norm(vit.blocks(placed(vit, x, places)))
