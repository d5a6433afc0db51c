"""The verbs of masking: take tokens, put tokens, mask of indices, mean where it counts."""

from __future__ import annotations

import torch
from torch import Tensor


def take(x: Tensor, index: Tensor) -> Tensor:
    """The tokens of `x` (B, N, D) at `index` (B, K), as (B, K, D)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def put(x: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """A copy of `x` (B, N, D) with `values` (B, K, D) at `index` (B, K)."""
    return x.scatter(1, index[..., None].expand(-1, -1, x.shape[-1]), values.to(x.dtype))


def mask_of(hidden: Tensor, count: int) -> Tensor:
    """bool (B, N), N = `count`: True at the positions in `hidden` (B, M)."""
    mask = torch.zeros(hidden.shape[0], count, dtype=torch.bool, device=hidden.device)
    return mask.scatter_(1, hidden, True)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` (B, N) where `mask` (B, N), over the whole batch; 0 where nothing is
    masked.
    """
    return (values * mask).sum() / mask.sum().clamp(min=1)
