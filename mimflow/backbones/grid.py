"""Backbones that keep the whole grid, used as timm has them: Swin, PVT v2, a plain ViT and others.

They see every place of the image; what is hidden is painted over in the image or replaced after the
embedding.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.func import functional_call

from mimflow.backbones.initialise import xavier
from mimflow.backbones.resolution import tables


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
    x = functional_call(features, resized, (images,)) if resized else features(images)
    if x.ndim == 3:
        return x
    last = str(getattr(encoder, "output_fmt", "NCHW")) == "NHWC"  # as timm calls the layouts
    return x.flatten(1, 2) if last else x.flatten(2).transpose(1, 2)


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


def refuse_chance(encoder: nn.Module) -> None:
    """Raises ValueError where the encoder has dropout or drop path: it would draw at random beside
    the run's own draws.
    """
    for name, part in encoder.named_modules():
        share = part.p if isinstance(part, nn.Dropout) else getattr(part, "drop_prob", 0.0)
        if share:
            raise ValueError(f"encoder: {name} drops a share of {share}; set its rate to 0")


def residual_blocks(encoder: nn.Module) -> list[nn.Module]:
    """All blocks, from the first to the last."""
    lists = [
        part
        for name, part in encoder.named_modules()
        if name.split(".")[-1] == "blocks" and isinstance(part, nn.Sequential | nn.ModuleList)
    ]
    return [block for blocks in lists for block in blocks]


def leave_out(encoder: nn.Module, count: int) -> None:
    """The last `count` blocks hand on what they get and are not trained; they keep their weights
    and their place in the state.
    """
    blocks = residual_blocks(encoder)
    if count >= len(blocks):
        raise ValueError(f"drop_layers: {count} leaves nothing of the {len(blocks)} blocks")
    for block in blocks[len(blocks) - count :]:
        block.forward = _hand_on
        block.requires_grad_(False)


def _hand_on(x: Tensor, *others: object, **named: object) -> Tensor:
    return x
