"""The protocol of `linear_sgd`: MAE's linear probe (arXiv 2111.06377, A.1), without augmentation.

Published: LARS, momentum 0.9, trust 0.001, no weight decay, batch 16384, base_lr 0.1, 90 epochs,
warm-up 10.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimflow.params.fields import Count, NonNegative, Positive, Ratio, Section, Seed, Threads


class LinearSgd(Section):
    """`base_lr`: the headline's, times batch / 256; it stands in `grid`, trained at once. `warmup`
    is in epochs.
    """

    base_lr: Positive
    grid: Annotated[list[Positive], Field(min_length=1)]
    batch: Count
    epochs: Count
    warmup: NonNegative
    momentum: Ratio
    trust: Positive
    weight_decay: NonNegative
    seed: Seed
    threads: Threads

    def model_post_init(self, context: object) -> None:
        if self.base_lr not in self.grid:
            raise ValueError(f"base_lr {self.base_lr} is not in grid {self.grid}")
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup {self.warmup} is not below epochs {self.epochs}")
