"""Layer-wise learning-rate decay (Clark et al., arXiv 2003.10555; for ViTs BEiT, arXiv 2106.08254).

Layer 0 is the embedding, layer i + 1 is block i, the last one is everything after the blocks. A
layer's share of the rate is decay ** (its distance from the last). Where blocks stand in stages
they are counted through; what is at the head of a stage belongs to the last block before it, as in
SimMIM's fine-tuning of Swin (arXiv 2111.09886, reference code).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import nn

_FIRST = ("cls_token", "mask_token", "pos_embed", "patch_embed", "stem")
_STAGES = ("layers", "stages")
_STAGE = re.compile(r"(?:^|\.)(?:layers|stages)\.(\d+)\.")
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


def depths_of(model: nn.Module) -> list[int]:
    """How many blocks a timm model has in each of its stages; a plain ViT is one stage. Raises
    ValueError for a model that has none.
    """
    stages: Any = next((getattr(model, name) for name in _STAGES if hasattr(model, name)), [model])
    found = [len(stage.blocks) for stage in stages if hasattr(stage, "blocks")]
    if not found or len(found) < len(stages):
        raise ValueError(f"layer_decay: {type(model).__name__} has no blocks to count; allowed: 1")
    return found


def layer_of(name: str, depths: list[int]) -> int:
    """0 to the sum of `depths` + 1, by the name in a timm model; a bias table of a block follows
    its block.
    """
    stage, block = _STAGE.search(name), _BLOCK.search(name)
    if stage or block:
        before = sum(depths[: int(stage[1])]) if stage else 0
        return before + (int(block[1]) + 1 if block else 0)
    parts = name.split(".")
    return 0 if any(part in _FIRST for part in parts) else sum(depths) + 1


def layer_decay(decay: float, depths: list[int]) -> Callable[[str], float]:
    """Parameter name -> share of the learning rate."""
    return lambda name: decay ** (sum(depths) + 1 - layer_of(name, depths))
