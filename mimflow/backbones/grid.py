"""Backbones that keep the whole grid, used as timm has them: Swin, PVT v2, a plain ViT and others.

They see every place of the image; what is hidden is painted over in the image or replaced after the
embedding.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.func import functional_call

from mimflow.backbones.initialise import create, xavier
from mimflow.backbones.resolution import tables


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


class _Features(nn.Module):
    """`forward_features` as the forward pass, so that it can be called with other tables."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.forward_features(images)  # type: ignore[operator]


def token_features(encoder: nn.Module, images: Tensor) -> Tensor:
    """Tokens (B, prefix + N, D) of whole images (B, C, H, W) after the last layer: class token and
    the like first, then the grid in raster order.
    """
    resized = {f"encoder.{name}": table for name, table in tables(encoder).items()}
    features = _Features(encoder)
    x = (
        functional_call(features, resized, (images,), tie_weights=False)
        if resized
        else features(images)
    )
    return flat(encoder, x)


def grid_features(encoder: nn.Module, images: Tensor) -> Tensor:
    """(B, h, w, D) of whole images (B, C, H, W), without class token."""
    side = stride(encoder)
    grid = images.shape[-2] // side, images.shape[-1] // side
    return token_features(encoder, images)[:, num_prefix(encoder) :].unflatten(1, grid)


def stride(encoder: nn.Module) -> int:
    """The side in pixels of what one output token stands for."""
    return cast(list[dict[str, int]], encoder.feature_info)[-1]["reduction"]


def width(encoder: nn.Module) -> int:
    """D of the output."""
    return cast(int, encoder.num_features)


def num_prefix(encoder: nn.Module) -> int:
    """Tokens before the grid's."""
    return cast(int, getattr(encoder, "num_prefix_tokens", 0))


def norm_eps(encoder: nn.Module) -> float:
    """The epsilon of the encoder's last layer norm."""
    return [part.eps for part in encoder.modules() if isinstance(part, nn.LayerNorm)][-1]


def xavier_linear(encoder: nn.Module) -> None:
    """Xavier-uniform for every Linear, 1 and 0 for every norm; convolutions and bias tables keep
    timm's initialisation (FastMIM's reference code).
    """
    for part in encoder.modules():
        if isinstance(part, nn.Linear | nn.LayerNorm):
            xavier(part)
