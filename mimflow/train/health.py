"""Is the encoder learning anything? Measured on what the training computes anyway.

`rank`: RankMe (Garrido et al., arXiv 2210.02885), the exponential of the entropy of the singular
values of a micro-batch's mean tokens (B, D): 1 when all images look the same to the encoder, at
most min(B, D). `similarity`: mean cosine between the tokens of one image, 1 when they collapsed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Look:
    """Keeps the tokens that leave the encoder's final norm, in the steps that are looked at."""

    def __init__(self, encoder: nn.Module):
        self.wanted = False
        self.tokens: Tensor | None = None
        norm = getattr(encoder, "norm", None)
        if isinstance(norm, nn.Module):
            norm.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if self.wanted:
            self.tokens = output.detach()
            self.wanted = False  # the first micro-batch, the first view

    def measure(self) -> dict[str, Tensor]:
        """`rank` and `similarity` of the tokens that were kept, if there were any."""
        if self.tokens is None:
            return {}
        x = self.tokens.float().nan_to_num().flatten(1, -2)  # (B, T, D)
        self.tokens = None
        return {"rank": rank_me(x.mean(1)), "similarity": similarity(x)}


def rank_me(features: Tensor) -> Tensor:
    """The effective rank of `features` (B, D)."""
    size = torch.linalg.svdvals(features)
    share = size / size.sum() + 1e-7
    return (-(share * share.log()).sum()).exp()


def similarity(tokens: Tensor) -> Tensor:
    """Mean cosine between two different tokens of an image, over tokens (B, T, D)."""
    unit = nn.functional.normalize(tokens, dim=-1)
    count = tokens.shape[1]
    if count < 2:
        return torch.ones((), device=tokens.device)
    together = unit.sum(1).square().sum(-1)  # (B,), all pairs and each token with itself
    return ((together - count) / (count * (count - 1))).mean()
