"""The head of self-distillation: an MLP, unit length, and similarities to K directions, the codes
(DINO, arXiv 2104.14294; iBOT, arXiv 2111.07832).

The last layer has no bias, so the mean of logits is the logit of the mean feature: a centre needs
no logits of its own. Z is the width of the unit features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mimflow.params.selfdistill import Head


class Codes(nn.Module):
    """Logits (..., K) of unit features (..., Z): a gain for each of K unit directions.

    The gains stay 1 unless `train_gain`. They are (K, 1), a matrix to the weight decay.
    """

    def __init__(self, width: int, codes: int, train_gain: bool):
        super().__init__()
        self.direction = nn.Parameter(nn.Linear(width, codes, bias=False).weight.detach())
        self.gain = nn.Parameter(torch.ones(codes, 1), requires_grad=train_gain)

    @property
    def weight(self) -> Tensor:
        """(K, Z)."""
        return self.gain * self.direction / self.direction.norm(dim=1, keepdim=True)

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.linear(features, self.weight).float()

    def of_mean(self, features: Tensor) -> Tensor:
        """(K,): the mean of the logits of (..., Z), without rounding to half precision."""
        return (self.weight * features.float().flatten(0, -2).mean(0)).sum(1)


class CodeHead(nn.Module):
    """Unit features (..., Z) of tokens (..., D), and the codes of class tokens and of patches.

    `rule.patch_codes` None: both share one last layer.
    """

    def __init__(self, width: int, rule: Head):
        super().__init__()
        hidden, narrow, gain = rule.hidden, rule.bottleneck, rule.train_gain
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, narrow),
        )
        for part in self.mlp:
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
        self.classes, own = Codes(narrow, rule.codes, gain), rule.patch_codes
        self.own_patches = None if own is None else Codes(narrow, own, gain)

    @property
    def patches(self) -> Codes:
        """The last layer for patch tokens."""
        return self.classes if self.own_patches is None else self.own_patches

    def forward(self, tokens: Tensor) -> Tensor:
        return nn.functional.normalize(self.mlp(tokens).float(), dim=-1)

    def last_layers(self) -> list[nn.Parameter]:
        """What stays as it is while the last layer is frozen."""
        layers = [self.classes] if self.own_patches is None else [self.classes, self.own_patches]
        return [p for layer in layers for p in layer.parameters()]
