"""Self-distillation into codes: what keeps a student that predicts its own slow copy from collapse,
and the two losses (DINO, arXiv 2104.14294; iBOT, arXiv 2111.07832).

Centring alone leads to the same flat distribution for all images, sharpening alone to the same
single code; together they balance. K codes, V crops of each image, the first two of them global.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mimflow.decoders.prototypes import Codes
from mimflow.tokens import take
from mimflow.train.clock import Clock
from mimflow.train.processes import total


class Centre(nn.Module):
    """The running mean (K,) of the teacher's logits, taken away before they are sharpened.

    What is seen in a step moves it once, after the step, whatever the number of processes and
    micro-batches. `momentum` 1 keeps it at zero: no centring.
    """

    centre: Tensor
    pending: Tensor

    def __init__(self, codes: int, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("centre", torch.zeros(codes))
        self.register_buffer("pending", torch.zeros(codes + 1))  # the sum, and of how many

    @torch.no_grad()
    def targets(
        self, layer: Codes, features: Tensor, temperature: float, index: Tensor | None = None
    ) -> Tensor:
        """Probabilities (R, K) of the teacher's unit features (R, Z) by its last `layer`; of
        patches (R, N, Z) those at `index` (R, M), as (R, M, K). In training all are seen.
        """
        if self.training:
            self.see(layer.of_mean(features), len(features))
        return self(layer(features if index is None else take(features, index)), temperature)

    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """Probabilities (..., K) of the teacher's logits (..., K), no gradient."""
        return ((logits.detach().float() - self.centre) / temperature).softmax(-1)

    def see(self, mean: Tensor, images: int) -> None:
        """Counts the mean logit (K,) of a micro-batch of `images`."""
        self.pending += torch.cat([mean.float(), mean.new_ones(1, dtype=torch.float32)]) * images

    @torch.no_grad()
    def move(self) -> None:
        """The centre of the next step; it stays where a logit was not finite."""
        seen = total(self.pending)
        mean = seen[:-1] / seen[-1].clamp(min=1)
        moved = self.momentum * self.centre + (1 - self.momentum) * mean
        usable = (seen[-1] > 0) & mean.isfinite().all()
        self.centre.copy_(torch.where(usable, moved, self.centre))
        self.pending.zero_()


def temperature(ends: list[float], warmup: int, clock: Clock) -> float:
    """The teacher's, by whole epochs: from the first of `ends` in epoch 0 to the last in epoch
    `warmup` - 1.
    """
    first, last = ends
    share = 1.0 if warmup == 1 else min(math.floor(clock.epoch), warmup - 1) / (warmup - 1)
    return first + (last - first) * share


def class_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the student's logits (V, B, K) with the teacher's probabilities (2, B, K)
    of every other global crop: mean over pairs and images.
    """
    other = teacher.flip(0)  # of the global crops, each other's; a local crop has both
    target = torch.cat([other, other.sum(0, keepdim=True).expand(len(student) - 2, -1, -1)])
    error = -(target * (student / temperature).log_softmax(-1)).sum(-1)  # (V, B)
    return error.sum(0).mean() / (2 * len(student) - 2)


def patch_loss(student: Tensor, teacher: Tensor, hidden: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of logits with probabilities (R, M, K) of the same crops and places: mean over
    an image's places where `hidden` bool (R, M), then over all R; a crop that hides none is 0.
    """
    error = -(teacher * (student / temperature).log_softmax(-1)).sum(-1)  # (R, M)
    return ((error * hidden).sum(1) / hidden.sum(1).clamp(min=1)).mean()


def entropy(share: Tensor) -> Tensor:
    """Of distributions (..., K), as a share of the largest, log K: 0 is one code, 1 all evenly."""
    return -(share * share.clamp(min=1e-12).log()).sum(-1) / math.log(share.shape[-1])


@torch.no_grad()
def collapse_signs(teacher: Tensor) -> dict[str, Tensor]:
    """Of probabilities (2, B, K): `teacher_entropy`, the mean entropy of an image's codes, near 1
    when none is meant; `centre_entropy`, that of their mean, near 0 when all images have one code;
    and what the record shows of a target.
    """
    deviation, mean = torch.std_mean(teacher, correction=0)
    return {
        "target_mean": mean,
        "target_std": deviation,
        "teacher_entropy": entropy(teacher).mean(),
        "centre_entropy": entropy(teacher.flatten(0, -2).mean(0)),
    }
