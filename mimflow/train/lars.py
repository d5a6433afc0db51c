"""LARS: each weight matrix moves by a fixed share of its own norm (You et al., arXiv 1708.03888).

As in MoCo v3's and MAE's reference code: the rate of a matrix is scaled by
`trust` |w| / |g + decay w|; vectors take a plain step. A norm of zero gives a scale of one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class LayerwiseSGD(torch.optim.Optimizer):
    """Momentum SGD over `groups`, with layer-wise rates for all of two or more dimensions."""

    found_inf: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], momentum: float, trust: float):
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self.momentum, self.trust = momentum, trust

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; none where `found_inf` is 1."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = p.grad
                if p.ndim > 1:
                    update = update + group["weight_decay"] * p
                    size, length = p.norm(), update.norm()
                    scale = torch.where((size > 0) & (length > 0), self.trust * size / length, 1.0)
                    update = update * scale
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                buffer = state["momentum_buffer"]
                moved = buffer * self.momentum + update
                if self.found_inf is not None:
                    skip = self.found_inf > 0
                    moved = torch.where(skip, buffer, moved)
                    p.copy_(torch.where(skip, p, p - group["lr"] * moved))
                else:
                    p.sub_(group["lr"] * moved)
                buffer.copy_(moved)
