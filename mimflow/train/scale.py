"""Loss scaling for fp16 (Micikevicius et al., arXiv 1710.03740): small gradients are lifted over
what fp16 can hold, and the scale is halved where they overflow.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST, GROWTH, PATIENCE = 65536.0, 2.0, 2000  # torch.amp.GradScaler's


class LossScale:
    """The scale of a run, on the device; does nothing unless `active`."""

    def __init__(self, active: bool, device: torch.device):
        self.active = active
        self.state = torch.tensor([FIRST, 0.0], device=device)  # scale, steps since it changed

    def up(self, loss: Tensor) -> Tensor:
        """`loss` times the scale."""
        return loss * self.state[0] if self.active else loss

    def down(self, gradients: list[Tensor]) -> None:
        """Undoes the scale in the gradients."""
        if self.active:
            torch._foreach_mul_(gradients, 1 / self.state[0])

    def update(self, norm: Tensor) -> Tensor:
        """Whether the gradient overflowed because of the scale, and the scale of the next step.

        At a scale of 1 nothing is left to halve: what is not finite there is no overflow.
        """
        if not self.active:
            return torch.zeros_like(norm, dtype=torch.bool)
        scale, calm = self.state.unbind()
        overflow = ~norm.isfinite() & (scale > 1)
        calm = torch.where(overflow, 0.0, calm + 1)
        grow = calm >= PATIENCE
        scale = torch.where(overflow, scale / GROWTH, torch.where(grow, scale * GROWTH, scale))
        self.state = torch.stack([scale, torch.where(grow, 0.0, calm)])
        return overflow
