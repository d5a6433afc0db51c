"""Stochastic depth (Huang et al., arXiv 1603.09382) whose choice is drawn, not rolled.

Which image skips which residual branch is a function of (seed, step, place), like every other
random number here: the same after a resume and on any number of processes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mimflow.draw import Draw


class DropPath(nn.Module):
    """Leaves out a branch (B, ...) for a share `rate` of the images and scales the others up."""

    def __init__(self, rate: float, name: str):
        super().__init__()
        self.rate, self.name = rate, name
        self.draw: Draw | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        assert self.draw is not None, "draw_paths was not called"
        kept = self.draw.uniform(self.name, 1) >= self.rate  # (B, 1)
        scale = kept.to(x.dtype) / (1 - self.rate)
        return x * scale.reshape(-1, *[1] * (x.ndim - 1))


def drop_paths(encoder: nn.Module, rate: float) -> None:
    """Gives the blocks of a timm model drop paths that grow linearly from 0 in the first to `rate`
    in the last.
    """
    parts: list[Any] = [b for b in encoder.modules() if hasattr(b, "drop_path1")]
    for i, block in enumerate(parts):
        share = rate * i / max(len(parts) - 1, 1)
        block.drop_path1 = DropPath(share, f"drop.{i}.1")
        block.drop_path2 = DropPath(share, f"drop.{i}.2")


def draw_paths(module: nn.Module, draw: Draw) -> None:
    """Hands the step's numbers to every drop path below `module`, before its forward pass."""
    for part in module.modules():
        if isinstance(part, DropPath):
            part.draw = draw
