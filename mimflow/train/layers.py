"""Layer-wise learning-rate decay (Clark et al., arXiv 2003.10555; for ViTs BEiT, arXiv 2106.08254).

Layer 0 is the embedding, layer i + 1 is block i, the last one is everything after the blocks. A
layer's share of the rate is decay ** (its distance from the last).
"""

from __future__ import annotations

import re
from collections.abc import Callable

_FIRST = ("cls_token", "mask_token", "pos_embed", "patch_embed")
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


def layer_of(name: str, depth: int) -> int:
    """0 to `depth` + 1, by the name in a timm ViT; a bias table of a block follows its block."""
    found = _BLOCK.search(name)
    if found:
        return int(found[1]) + 1
    parts = name.split(".")
    return 0 if any(part in _FIRST for part in parts) else depth + 1


def layer_decay(decay: float, depth: int) -> Callable[[str], float]:
    """Parameter name -> share of the learning rate."""
    return lambda name: decay ** (depth + 1 - layer_of(name, depth))
