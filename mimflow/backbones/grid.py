"""Any backbone of timm that keeps a grid (Swin, PVT v2, ConvNeXt), as timm has it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mimflow.backbones.initialise import create


def build_grid(name: str, kwargs: dict[str, Any]) -> nn.Module:
    """timm's model `name` with timm's first weights.

    Raises ValueError where timm has no such model, its arguments do not fit, or it is a ViT, which
    has kinds of its own.
    """
    model = create(name, kwargs)
    if getattr(model, "num_prefix_tokens", 0):
        raise ValueError(f"encoder: {name} has a class token: it is no grid (kinds: vit, beit)")
    return model


def flat(model: nn.Module, x: Tensor) -> Tensor:
    """What timm's `forward_features` of such a model gives, as tokens (B, N, D) in raster order."""
    if x.ndim == 3:
        return x
    if getattr(model, "output_fmt", "NCHW") == "NCHW":
        x = x.permute(0, 2, 3, 1)  # (B, h, w, D)
    return x.flatten(1, 2)
