"""CLIP's names of a vision tower's tensors (arXiv 2103.00020; OpenCLIP's are the same) as timm's.

The tower of the whole model stands under `visual.`; a file of the tower alone has no such prefix.
"""

from __future__ import annotations

import re

from torch import Tensor

PREFIX = "visual."
_TOP = {
    "class_embedding": "cls_token",
    "positional_embedding": "pos_embed",
    "conv1.weight": "patch_embed.proj.weight",
    "proj": "head.weight",
}
_NORMS = {"ln_pre": "norm_pre", "ln_post": "norm"}
_IN_BLOCK = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.in_proj_": "attn.qkv.",
    "attn.out_proj": "attn.proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")


def as_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tower's tensors by timm's names, in fp32; everything else is left out."""
    whole = any(name.startswith(PREFIX) for name in tensors)
    found = {}
    for name, x in tensors.items():
        if whole and not name.startswith(PREFIX):
            continue  # the text tower, the temperature
        ours = _name(name.removeprefix(PREFIX))
        if ours is not None:
            found[ours] = _laid_out(ours, x.float())
    return found


def _name(name: str) -> str | None:
    if name in _TOP:
        return _TOP[name]
    part, _, rest = name.partition(".")
    if part in _NORMS:
        return f"{_NORMS[part]}.{rest}"
    block = _BLOCK.fullmatch(name)
    if block is None:
        return None
    inner = block[2]
    for theirs, ours in _IN_BLOCK.items():
        if inner.startswith(theirs):
            return f"blocks.{block[1]}.{ours}{inner.removeprefix(theirs)}"
    return None


def _laid_out(name: str, x: Tensor) -> Tensor:
    if name == "cls_token":
        return x.reshape(1, 1, -1)  # (1, 1, D)
    if name == "pos_embed":
        return x[None]  # (1, 1 + N, D)
    return x.T.contiguous() if name == "head.weight" else x  # (P, D)
