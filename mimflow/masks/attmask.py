"""Masks by a teacher's attention: what it attends to most, or least, is hidden (AttMask,
Kakogeorgiou et al., arXiv 2203.12719).

`attention` (B, N) is of the same crop. Counts are tensors, so that a ratio drawn on the device
costs no wait; ties fall as a stable sort has them. Nothing here has a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ranks(values: Tensor) -> Tensor:
    """int64 (B, N): the place of each value of (B, N) when sorted, the smallest is 0."""
    return values.argsort(dim=1, stable=True).argsort(dim=1)


def most_attended(attention: Tensor, count: Tensor) -> Tensor:
    """bool (B, N): the `count` places of the highest attention. For the lowest, give -attention."""
    return ranks(-attention.detach()) < count


def some_cleared(mask: Tensor, noise: Tensor, probability: float) -> Tensor:
    """`mask` (B, N), empty where `noise` (B, 1) in [0, 1) is over `probability`."""
    return mask & (noise <= probability)


def revealed(mask: Tensor, attention: Tensor, top: int, count: Tensor, noise: Tensor) -> Tensor:
    """`mask` (B, N) without hints: of the `top` places of the highest attention the `count` with
    the smallest `noise` (B, N) are shown.
    """
    head = ranks(-attention.detach()) < top
    return mask & ~(head & (ranks(torch.where(head, noise, 2.0)) < count))
