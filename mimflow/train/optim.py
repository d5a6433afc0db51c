"""The optimiser as published: AdamW, weight decay on weights of two or more dimensions only."""

from __future__ import annotations

import torch
from torch import nn

from mimflow.params.fields import AdamW


def build_optimiser(method: nn.Module, params: AdamW) -> torch.optim.Optimizer:
    """Two groups, with and without decay, in the order of `named_parameters`.

    Class and mask token have three dimensions and are decayed, as in MAE's reference code.
    """
    trained = [p for p in method.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": params.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    first, second = params.betas
    return torch.optim.AdamW(groups, lr=0.0, betas=(first, second), fused=True)
