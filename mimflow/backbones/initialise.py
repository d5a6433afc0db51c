"""The weight initialisation of MAE's encoder and decoder (arXiv 2111.06377, reference code)."""

from __future__ import annotations

from torch import nn


def xavier(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every Linear below `module`, 1 and 0 for every
    norm.

    The fused qkv counts as one (3D, D) matrix, a patch convolution as the matrix (D, P) that it is.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(part.weight.data.flatten(1))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
