"""Tiny encoders of timm that keep the grid, for tests."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from mimflow.backbones.vit import build_vit

SWIN = {"img_size": 64, "window_size": 2, "embed_dim": 8, "depths": (1, 1, 2, 1)}
SWIN |= {"num_heads": (1, 1, 2, 2), "drop_path_rate": 0.0}
PVT = {"embed_dims": (8, 8, 16, 24), "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1)}
VIT = {"img_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 2}


def backbone(name: str, **changes: Any) -> nn.Module:
    """timm's ViT, Swin or PVT v2, tiny, for 64 px unless changed."""
    torch.manual_seed(0)
    if name == "vit":
        kwargs = {**VIT, "num_classes": 0, "global_pool": "token", **changes}
        return build_vit("vit_tiny_patch16_224", kwargs)
    full, kwargs = {"swin": ("swin_tiny_patch4_window7_224", SWIN), "pvt": ("pvt_v2_b0", PVT)}[name]
    return timm.create_model(full, num_classes=0, global_pool="", **{**kwargs, **changes})


def images(size: int = 64) -> Tensor:
    """Two images of noise."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
