"""Momentum SGD (Sutskever et al., 2013) as torch's, and LARS: each weight matrix moves by a fixed
share of its own norm (You et al., arXiv 1708.03888).

torch's own leaves no step out that is not finite unless it is fused, and the fused one makes no
sound momentum in such a step, nor shares work by FSDP2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class MomentumSGD(torch.optim.Optimizer):
    """w moves against m, where m is momentum m + g + decay w."""

    found_inf: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], momentum: float, nesterov: bool = False):
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self.momentum, self.nesterov = momentum, nesterov

    def direction(self, p: Tensor, gradient: Tensor, decay: float) -> Tensor:
        """What joins the momentum."""
        return gradient + decay * p

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; none where `found_inf` is 1."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = self.direction(p, p.grad, group["weight_decay"])
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                buffer = state["momentum_buffer"]
                moved = buffer * self.momentum + update
                update = update + self.momentum * moved if self.nesterov else moved
                if self.found_inf is not None:
                    skip = self.found_inf > 0
                    moved = torch.where(skip, buffer, moved)
                    p.copy_(torch.where(skip, p, p - group["lr"] * update))
                else:
                    p.sub_(group["lr"] * update)
                buffer.copy_(moved)


class LayerwiseSGD(MomentumSGD):
    """LARS as in MoCo v3's and MAE's reference code: the rate of a matrix is scaled by `trust` |w|
    / |g + decay w|; vectors take a plain step. A norm of zero gives a scale of one.
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float, trust: float):
        super().__init__(groups, momentum)
        self.trust = trust

    def direction(self, p: Tensor, gradient: Tensor, decay: float) -> Tensor:
        """Scaled, for all of two or more dimensions."""
        if p.ndim <= 1:
            return gradient
        update = gradient + decay * p
        size, length = p.norm(), update.norm()
        scale = torch.where((size > 0) & (length > 0), self.trust * size / length, 1.0)
        return update * scale
