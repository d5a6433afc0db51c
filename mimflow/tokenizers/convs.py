"""Convolutional encoder and decoder of tokenizers: a stage halves or doubles the picture, and has
residual blocks (as taming transformers and BEiT's own dVAE build them, sizes from the parameters).

S stages, so that a place of the grid is a patch of 2^S pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

GROUPS = 32  # of a group norm
NARROW = 64  # channels below which there are fewer groups: one channel alone loses its colour


def group_norm(width: int) -> nn.GroupNorm:
    """The norm of a map of `width` channels: 32 groups, of narrow maps groups of 8."""
    groups = GROUPS if width >= NARROW else max(width // 8, 1)
    return nn.GroupNorm(groups, width, eps=1e-6)


class Residual(nn.Module):
    """x + Conv(SiLU(Norm(Conv(SiLU(Norm(x))))))."""

    def __init__(self, width: int):
        super().__init__()
        parts: list[nn.Module] = []
        for _ in range(2):
            parts += [group_norm(width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]
        self.branch = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.branch(x)


class Down(nn.Sequential):
    """Pictures (B, 3, H, W) to a map (B, out, h, w); `widths`: channels of each stage."""

    def __init__(self, widths: Sequence[int], blocks: int, out: int):
        parts: list[nn.Module] = []
        for before, width in zip([3, *widths[:-1]], widths, strict=True):
            parts.append(nn.Conv2d(before, width, 4, stride=2, padding=1))
            parts += [Residual(width) for _ in range(blocks)]
        super().__init__(*parts, group_norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], out, 1))


class Up(nn.Sequential):
    """A map (B, d, h, w) to pictures (B, out, H, W): `Down` mirrored, places doubled."""

    def __init__(self, widths: Sequence[int], blocks: int, d: int, out: int):
        parts: list[nn.Module] = [nn.Conv2d(d, widths[-1], 1)]
        for width, after in zip(widths[::-1], [*widths[:-1][::-1], widths[0]], strict=True):
            parts += [Residual(width) for _ in range(blocks)]
            parts += [nn.Upsample(scale_factor=2), nn.Conv2d(width, after, 3, padding=1)]
        super().__init__(
            *parts, group_norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], out, 3, padding=1)
        )


def as_tokens(x: Tensor) -> Tensor:
    """A map (B, d, h, w) as tokens (B, N, d) in raster order."""
    return x.flatten(2).transpose(1, 2)
