"""A momentum teacher: a copy of a network that follows it slowly and takes no gradient.

teacher <- m teacher + (1 - m) student, after each step or at the end of each epoch (MoCo,
arXiv 1911.05722; BYOL, arXiv 2006.07733; per epoch: SdAE, arXiv 2208.00449).
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from mimflow.train.clock import Clock

Network = TypeVar("Network", bound=nn.Module)


def momentum_copy(student: Network) -> Network:
    """A frozen copy, equal to `student` at the start."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Moves the teacher's parameters; buffers (running statistics) are its own."""
    theirs = [p.detach() for p in teacher.parameters()]
    ours = [p.detach() for p in student.parameters()]
    torch._foreach_lerp_(theirs, ours, 1 - momentum)


def epoch_ends(clock: Clock) -> bool:
    """Whether the step that `clock` shows is the last one that begins within its epoch."""
    ahead = (clock.step + 1) * clock.epochs / clock.steps
    return int(ahead) > int(clock.epoch)
