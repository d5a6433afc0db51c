"""A frozen network that looks at pictures for a tokenizer: the teacher of VQ-KD, the judge of PeCo.

It takes pictures in [0, 1] of the tokenizer's size, and standardises them as it was trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimflow.backbones.grid import num_prefix, token_features
from mimflow.encoder import load_encoder
from mimflow.teachers.frozen import open_teacher


class Network(nn.Module):
    """An encoder in evaluation mode; a gradient reaches the pictures, never its weights."""

    mean: Tensor
    std: Tensor
    projection: Tensor | None

    def __init__(
        self,
        encoder: nn.Module,
        mean: list[float],
        std: list[float],
        projection: Tensor | None = None,
    ):
        """`projection` (D, width): of every token, as a teacher may have one."""
        super().__init__()
        self.encoder = encoder
        self.register_buffer("projection", projection, persistent=False)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Network:
        """Stays in evaluation."""
        return super().train(False)

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tensor:
        """Patch tokens (B, N, D) after the last norm and the projection, float32."""
        x = token_features(self.encoder, (images - self.mean) / self.std)
        x = x[:, num_prefix(self.encoder) :]
        if self.projection is not None:
            x = nn.functional.linear(x, self.projection)
        return x.float()

    def states(self, images: Tensor, layers: list[int]) -> list[Tensor]:
        """What leaves the blocks of these numbers, from 1, before any norm: patch tokens
        (B, N, D), float32; of an encoder in stages their maps.
        """
        blocks, found = depths(self.encoder), []
        prefix = num_prefix(self.encoder)
        hooks = [
            blocks[layer - 1].register_forward_hook(lambda m, inputs, out: found.append(out))
            for layer in layers
        ]
        try:
            self.encoder.forward_features((images - self.mean) / self.std)  # type: ignore[operator]
        finally:
            for hook in hooks:
                hook.remove()
        return [x[:, prefix:].float() if x.ndim == 3 else x.float() for x in found]


def depths(encoder: nn.Module) -> nn.ModuleList | nn.Sequential:
    """The blocks of a ViT, or the stages of a hierarchy. Raises ValueError without either."""
    for name in ("blocks", "stages", "layers"):
        found = getattr(encoder, name, None)
        if isinstance(found, nn.ModuleList | nn.Sequential):
            return found
    raise ValueError(f"layers: {type(encoder).__name__} has no blocks, stages or layers")


def load_network(path: Path, size: int) -> Network:
    """The encoder of a run, runs/NAME/encoder.safetensors, or a teacher,
    teachers/NAME/weights.safetensors, for pictures of `size`. Raises ValueError if it is neither,
    or takes another size.
    """
    if path.name != "weights.safetensors":
        encoder, card = load_encoder(path)
        _check_size(path, card, size)
        return Network(encoder, card["mean"], card["std"])
    teacher = open_teacher(path)
    _check_size(path, teacher.card, size)
    seen = teacher.card if teacher.card["renormalised"] else teacher.card["data"]
    return Network(teacher.held[0], seen["mean"], seen["std"], teacher.projection)


def _check_size(path: Path, card: dict[str, Any], size: int) -> None:
    if card["img_size"] != size:
        raise ValueError(
            f"{path}: takes pictures of {card['img_size']} pixels, but img_size is {size}"
        )
