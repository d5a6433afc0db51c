"""Fixed two-dimensional sine-cosine positions (MAE, arXiv 2111.06377, reference code)."""

from __future__ import annotations

import torch
from torch import Tensor


def sincos(width: int, grid: tuple[int, int], prefix: int = 1) -> Tensor:
    """Position table (prefix + N, D), D = `width`, for a grid (h, w); the prefix rows are zero.

    The first half of the channels encodes the column, the second the row; in each, all sines come
    before all cosines. Coordinates are grid indices. Computed in float64, rounded once.
    """
    if width % 4:
        raise ValueError(f"sine-cosine positions need a width divisible by 4, not {width}")
    frequency = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))

    def encode(count: int) -> Tensor:
        angle = torch.arange(count, dtype=torch.float64)[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)  # (count, D / 2)

    h, w = grid
    column = encode(w)[None].expand(h, w, -1)
    row = encode(h)[:, None].expand(h, w, -1)
    table = torch.cat([column, row], dim=-1).reshape(h * w, width)
    return torch.cat([torch.zeros(prefix, width), table.float()])
