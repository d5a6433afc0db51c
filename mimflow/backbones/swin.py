"""Swin (Liu et al., arXiv 2103.14030): timm's model, opened so that hidden patches are replaced by
a mask token (SimMIM, arXiv 2111.09886).

The module is timm's own, its state dict too. A grid backbone can not leave tokens out: attention
windows and merging need every place. D' is the width of the last stage.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from mimflow.backbones.initialise import create


def build_swin(name: str, kwargs: dict[str, Any]) -> SwinTransformer:
    """timm's Swin `name` with timm's first weights, which are the published ones (Linears and bias
    tables of deviation 0.02). Raises ValueError where it is no Swin or its arguments do not fit.
    """
    swin = create(name, kwargs)
    if not isinstance(swin, SwinTransformer):
        raise ValueError(f"encoder: {name} can not replace patches by a mask token: not a Swin")
    return swin


def replace(swin: SwinTransformer, x: Tensor, mask: Tensor, token: Tensor) -> Tensor:
    """The map (B, h', w', D') after the final norm, of embedded patches `x` (B, h, w, D), patch
    norm included: `token` (1, 1, D) stands in for the hidden ones, `mask` bool (B, h * w).
    """
    x = torch.where(mask.view(x.shape[:3])[..., None], token.to(x.dtype), x)
    return swin.norm(swin.layers(x))
