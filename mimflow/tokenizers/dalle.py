"""The encoder of DALL-E's discrete VAE (Ramesh et al., arXiv 2102.12092), for its public weights:
stride 8, 8192 words in the published size.

Four groups of two residual blocks, each group twice as wide as the one before, halved by a maximum
after the first three.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

GROUPS, BLOCKS, STRIDE = 4, 2, 8


class Block(nn.Module):
    """Identity, or a 1 x 1 convolution where the width changes, + branch / 64."""

    def __init__(self, before: int, after: int):
        super().__init__()
        inner = after // 4
        self.identity = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        parts: list[nn.Module] = []
        for width in (before, inner, inner):
            parts += [nn.ReLU(), nn.Conv2d(width, inner, 3, padding=1)]
        self.branch = nn.Sequential(*parts, nn.ReLU(), nn.Conv2d(inner, after, 1))
        self.gain = 1 / (GROUPS * BLOCKS) ** 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, H, W)."""
        out: Tensor = self.identity(x) + self.gain * self.branch(x)
        return out


class DallE(nn.Sequential):
    """Pictures (B, 3, H, W), mapped to 0.8 x + 0.1, to logits (B, K, H / 8, W / 8)."""

    def __init__(self, width: int, codes: int):
        parts: list[nn.Module] = [nn.Conv2d(3, width, 7, padding=3)]
        before = width
        for group in range(GROUPS):
            after = width * 2**group
            for _ in range(BLOCKS):
                parts.append(Block(before, after))
                before = after
            if group + 1 < GROUPS:
                parts.append(nn.MaxPool2d(2))
        super().__init__(*parts, nn.ReLU(), nn.Conv2d(before, codes, 1))


def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The public encoder's tensors under the names of `DallE`; others keep their own."""
    table = {"blocks.input": "0", "blocks.output.conv": str(2 + GROUPS * BLOCKS + GROUPS - 1)}
    for group in range(GROUPS):
        for block in range(BLOCKS):
            theirs = f"blocks.group_{group + 1}.block_{block + 1}"
            ours = str(1 + group * (BLOCKS + 1) + block)
            table[f"{theirs}.id_path"] = f"{ours}.identity"
            for conv in range(4):
                table[f"{theirs}.res_path.conv_{conv + 1}"] = f"{ours}.branch.{2 * conv + 1}"
    kinds = {"w": "weight", "b": "bias"}
    found = {}
    for name, x in state.items():
        place, _, kind = name.rpartition(".")
        found[f"{table[place]}.{kinds[kind]}" if place in table and kind in kinds else name] = x
    return found


def sizes_of(state: dict[str, Tensor], size: int) -> dict[str, Any]:
    """The card of own names, for pictures of `size`. Raises KeyError for an absent tensor."""
    last = str(2 + GROUPS * BLOCKS + GROUPS - 1)
    width, codes = state["0.weight"].shape[0], state[f"{last}.weight"].shape[0]
    side = size // STRIDE
    net = {"kind": "dalle", "width": width, "codes": codes}
    facts = {"codes": codes, "grid": [side, side], "img_size": size, "distance": 1.0}
    return {"kind": "dalle", "net": net, **facts, "scale": 0.8, "shift": 0.1}
