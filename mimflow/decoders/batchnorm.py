"""Batch normalisation by the statistics of the global batch, over all ranks (arXiv 1502.03167)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimflow.train.processes import reduce


class GlobalBatchNorm(nn.BatchNorm1d):
    """Of (B, D), like `nn.BatchNorm1d` on the joined batch of all ranks; in float32."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        x = x.float()
        count = reduce(torch.full((1,), float(len(x)), device=x.device))
        mean = reduce(x.sum(0)) / count
        variance = reduce((x - mean).square().sum(0)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach(), count)
        out = (x - mean) * (variance + self.eps).rsqrt()
        return out * self.weight + self.bias if self.affine else out

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        unbiased = variance * count / (count - 1).clamp(min=1)
        share = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)  # type: ignore[union-attr]
        self.running_var.lerp_(unbiased, share)  # type: ignore[union-attr]
        self.num_batches_tracked += 1  # type: ignore[operator, assignment]
