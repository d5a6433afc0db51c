"""Schedules as functions of where the run is; no state, so a resume needs the step alone."""

from __future__ import annotations

import math

from mimflow.params.training import Schedule
from mimflow.train.clock import Clock


def learning_rate(schedule: Schedule, peak: float, clock: Clock) -> float:
    """The rate of the step that `clock` shows, set before it.

    cosine: MAE's, from the end of the warm-up; the first step has rate `start_lr`. cosine_whole:
    SimMIM's, the cosine counts from step 0, so the rate drops a little where the warm-up ends.
    cosine_steps: BEiT's and iBOT's, whose warm-up of whole steps includes both ends. steps: times
    `gamma` at each milestone.
    """
    now, warmup = clock.fraction, schedule.warmup
    start, floor = schedule.start_lr, schedule.final_lr
    if schedule.shape == "cosine_steps":
        first = round(warmup * clock.steps)
        return cosine_steps(clock.step, clock.steps, first, start, peak, floor)
    if now < warmup:
        return start + (peak - start) * now / warmup
    if schedule.shape == "steps":
        return peak * schedule.gamma ** sum(now >= m for m in schedule.milestones)
    if schedule.shape == "cosine_whole":
        return half_cosine(now, peak, floor)
    return half_cosine((now - warmup) / (1 - warmup), peak, floor)


def weight_decay(schedule: Schedule, first: float, clock: Clock) -> float:
    """The weight decay of a step: `first`, or a half cosine from it to `final_decay`."""
    if schedule.final_decay is None:
        return first
    return half_cosine(clock.fraction, first, schedule.final_decay)


def half_cosine(fraction: float, first: float, last: float) -> float:
    """From `first` at 0 to `last` at 1: also the momentum of MoCo v3 (arXiv 2104.02057), iBOT and
    SiameseIM, whose `last` is 1.
    """
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * fraction))


def cosine_steps(
    step: int, steps: int, warmup: int, start: float, peak: float, floor: float
) -> float:
    """Of BEiT's and iBOT's reference code: `warmup` steps evenly from `start` to `peak`, both ends
    included, then a half cosine that never quite reaches `floor`.
    """
    if step < warmup:
        return start + (peak - start) * (step / (warmup - 1) if warmup > 1 else 0.0)
    return half_cosine((step - warmup) / (steps - warmup), peak, floor)
