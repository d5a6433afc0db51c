"""An encoder without its last blocks during pre-training (FastMIM, arXiv 2212.06593)."""

from __future__ import annotations

from torch import Tensor, nn


def residual_blocks(encoder: nn.Module) -> list[nn.Module]:
    """All blocks, from the first to the last."""
    lists = [
        part
        for name, part in encoder.named_modules()
        if name.split(".")[-1] == "blocks" and isinstance(part, nn.Sequential | nn.ModuleList)
    ]
    return [block for blocks in lists for block in blocks]


def leave_out(encoder: nn.Module, count: int) -> None:
    """The last `count` blocks hand on what they get and are not trained; they keep their weights
    and their place in the state.
    """
    blocks = residual_blocks(encoder)
    if count >= len(blocks):
        raise ValueError(f"drop_layers: {count} leaves nothing of the {len(blocks)} blocks")
    for block in blocks[len(blocks) - count :]:
        block.forward = _hand_on
        block.requires_grad_(False)


def _hand_on(x: Tensor, *others: object, **named: object) -> Tensor:
    return x
