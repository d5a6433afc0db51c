"""What a method really hid and predicted, for the record: scalars that no gradient touches."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def seen(patches: Tensor, hidden: Tensor, target: Tensor) -> dict[str, Tensor]:
    """`mask_ratio` of the indices `hidden` (B, M) among the patches (B, N, ...), and `target_mean`,
    `target_std` over all values of `target`.
    """
    ratio = torch.full((), hidden.shape[1] / patches.shape[1], device=target.device)
    target = target.float()
    mean = target.mean()
    variance = target.square().mean() - mean.square()  # std_mean is slow on a CPU
    return {"mask_ratio": ratio, "target_mean": mean, "target_std": variance.clamp(min=0).sqrt()}
