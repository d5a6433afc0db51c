"""What a method really hid and predicted, for the record: scalars that no gradient touches."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def seen(
    patches: Tensor, hidden: Tensor, target: Tensor, where: Tensor | None = None
) -> dict[str, Tensor]:
    """`mask_ratio` of the indices `hidden` (B, M) among the patches (B, N, ...), and `target_mean`,
    `target_std` over all values of `target`, or those `where` it is used (of a shape that repeats
    to the target's).
    """
    ratio = torch.full((), hidden.shape[1] / patches.shape[1], device=target.device)
    target = target.float()
    if where is None:
        mean = target.mean()
        variance = target.square().mean() - mean.square()  # std_mean is slow on a CPU
    else:
        count = where.expand_as(target).sum().clamp(min=1)
        mean = (target * where).sum() / count
        variance = (target.square() * where).sum() / count - mean.square()
    return {"mask_ratio": ratio, "target_mean": mean, "target_std": variance.clamp(min=0).sqrt()}
