"""BEiT v2's patch aggregation (Peng et al., arXiv 2208.06366): a second branch that sees the whole
image through the class token alone.

The patches as they are after block l get the final class token in front and pass through a few more
blocks. l the layer, i the number of a block from 1.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from timm.models.beit import Beit, Block
from torch import Tensor, nn

from mimflow.backbones.beit import DropPath, narrow


class Bottleneck(nn.Module):
    """`depth` blocks like those of `beit`, numbered on from `layer`; they go after pre-training."""

    def __init__(self, beit: Beit, layer: int, depth: int, drop_path: float):
        super().__init__()
        self.layer = layer
        self.blocks = nn.ModuleList(like(beit) for _ in range(depth))
        whole = max(len(beit.blocks), layer + depth)  # blocks over which paths are dropped
        for number, block in enumerate(cast(list[Block], list(self.blocks)), start=layer + 1):
            start(block, number)
            share = drop_path * (number - 1) / max(whole - 1, 1)
            for name in ("drop_path1", "drop_path2"):
                block.add_module(name, DropPath(share))

    def forward(self, beit: Beit, last: Tensor, states: Tensor) -> Tensor:
        """(B, 1 + N, D) before the final norm, of the `last` states and those after block l, both
        (B, 1 + N, D).
        """
        x = torch.cat([last[:, :1], states[:, 1:]], dim=1)
        bias = shared_bias(beit)
        for block in self.blocks:
            x = block(x, shared_rel_pos_bias=bias)
        return x


def like(beit: Beit) -> Block:
    """A block of the sizes of `beit`'s own, with a table of its own where they have one."""
    first: Any = beit.blocks[0]
    scale = first.gamma_1
    block: Any = Block(
        beit.embed_dim,
        first.attn.num_heads,
        qkv_bias=True,
        mlp_ratio=first.mlp.fc1.out_features / beit.embed_dim,
        norm_layer=type(first.norm1),
        window_size=first.attn.window_size,
        init_values=None if scale is None else float(first.init_values or 0),
    )
    block.norm1.eps = block.norm2.eps = first.norm1.eps
    return cast(Block, block)


def start(block: Block, number: int) -> None:
    """The first weights of block i = `number`, as in `mimflow/backbones/beit.py`."""
    for part in block.modules():
        if isinstance(part, nn.Linear):
            narrow(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    with torch.no_grad():
        block.attn.proj.weight /= math.sqrt(2 * number)
        block.mlp.fc2.weight /= math.sqrt(2 * number)


def shared_bias(beit: Beit) -> Tensor | None:
    """The bias (heads, T, T) that all blocks have in common, if they do."""
    return beit.rel_pos_bias() if beit.rel_pos_bias is not None else None


def hidden_states(
    beit: Beit, x: Tensor, mask: Tensor, token: Tensor, layer: int
) -> tuple[Tensor, Tensor]:
    """States (B, 1 + N, D) after the last block and after block `layer`, of embedded patches `x`
    (B, N, D) where `token` (1, 1, D) stands in for those that `mask` bool (B, N) hides.

    Neither has passed the final norm.
    """
    x = torch.where(mask[..., None], token.to(x.dtype), x)
    x = torch.cat([beit.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)  # (B, 1 + N, D)
    if beit.pos_embed is not None:
        x = x + beit.pos_embed
    bias, states = shared_bias(beit), x
    for number, block in enumerate(beit.blocks, start=1):
        x = block(x, shared_rel_pos_bias=bias)
        if number == layer:
            states = x
    return x, states
