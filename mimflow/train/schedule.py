"""Schedules as functions of where the run is; no state, so a resume needs the step alone."""

from __future__ import annotations

import math


def warmup_cosine(now: float, end: float, warmup: float, peak: float, floor: float = 0.0) -> float:
    """Linear from 0 to `peak` over `warmup`, then half a cosine down to `floor` at `end`.

    `now`, `end` and `warmup` share a unit, such as fractional epochs. It is set before each step
    from the count of steps done, as in MAE's reference code: the first step has rate 0 if there is
    a warm-up.
    """
    if now < warmup:
        return peak * now / warmup
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * (now - warmup) / (end - warmup)))


def scaled_rate(base: float, batch: int) -> float:
    """The learning rate of a global batch: `base` is for 256 (linear rule, arXiv 1706.02677)."""
    return base * batch / 256
