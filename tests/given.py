"""A draw that gives the numbers it was built with: a reference's noise instead of our own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mimflow.draw import Draw


class Given(Draw):
    """`uniform(name, count)` is the tensor of that name: (B, count), (1, count) where shared."""

    def __init__(self, **noise: Tensor):
        self.noise = noise
        self.rows = torch.arange(len(noise["mask"]))

    def shared(self) -> Given:
        return self

    def uniform(self, name: str, count: int) -> Any:
        assert self.noise[name].shape[1] == count
        return self.noise[name]
