"""A batch of crops and masks for tests of iBOT and AttMask at the zoo's size."""

from __future__ import annotations

import torch
from torch import Tensor

from mimflow.draw import Draw
from mimflow.train.clock import Clock

CLOCK = Clock(3, 10, 1.5, 5.0)
COUNT, PATCHES = 6, 64


def draw(count: int = COUNT) -> Draw:
    return Draw(torch.arange(count), "test")


def batch_of(locals_: int = 2, hidden: int = 20) -> dict[str, Tensor]:
    """Half of the global crops hide `hidden` patches, the others none."""
    g = torch.Generator().manual_seed(1)
    batch = {n: torch.randn(COUNT, 3, 32, 32, generator=g) for n in ("image", "second")}
    batch |= {f"local{i}": torch.randn(COUNT, 3, 16, 16, generator=g) for i in range(locals_)}
    noise = torch.rand(COUNT, 2, PATCHES, generator=g)
    mask = noise.argsort(-1).argsort(-1) < hidden
    mask[::2, 0] = mask[1::2, 1] = False
    return {**batch, "mask": mask, "place": torch.arange(COUNT)}
