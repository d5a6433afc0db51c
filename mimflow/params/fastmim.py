"""The keys of a run of FastMIM, and of FastMIM-P, whose images grow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimflow.params.fields import Count, Fraction, GridNet, Hog, PlainViT, Ratio, Section, Target
from mimflow.params.training import Training


class PlainDecoder(Section):
    """`depth` blocks of width `width`, a head of attention for each 32 channels. Published: 256
    wide, 1 block for ViT-B, 4 for Swin-B; 0 blocks: the head alone, on the encoder's width.
    """

    width: Annotated[int, Field(ge=32, multiple_of=32)]
    depth: Annotated[int, Field(ge=0)]


class Size(Section):
    """Views of `img_size` pixels from the share `start` of the budget on."""

    img_size: Count
    start: Fraction


class FastMIMParams(Training):
    """`mask_ratio`: share of hidden blocks (published: 0.75). `block`: side of a block in pixels
    (published: 16 for ViT, 32 for grid backbones). `drop_layers`: how many of the encoder's last
    blocks are left out and untrained (published: 0). `sizes`: one for FastMIM, several for
    FastMIM-P; the last is the encoder's.
    """

    encoder: Annotated[PlainViT | GridNet, Field(discriminator="kind")]
    mask_ratio: Ratio
    block: Count
    target: Target
    decoder: PlainDecoder
    drop_layers: Annotated[int, Field(ge=0)]
    sizes: Annotated[list[Size], Field(min_length=1)]

    def size_at(self, step: int) -> int:
        """The side of the views of a step, in pixels."""
        return [s.img_size for s in self.sizes if s.start * self.steps <= step][-1]

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.compute.recompute and len(self.sizes) > 1:
            raise ValueError("compute.recompute: not with growing sizes, whose tables change")
        starts = [s.start for s in self.sizes]
        if starts[0] != 0 or sorted(set(starts)) != starts or starts[-1] == 1:
            raise ValueError(f"sizes: starts {starts} do not rise from 0 to below 1")
        if self.sizes[-1].img_size != self.encoder.img_size:
            raise ValueError(
                f"sizes: the last, {self.sizes[-1].img_size}, is not"
                f" encoder.img_size {self.encoder.img_size}"
            )
        for size in (s.img_size for s in self.sizes):
            if size % self.block:
                raise ValueError(f"sizes: {size} is no multiple of block {self.block}")
            if self.augment.kind == "shift" and self.augment.amount >= size:
                raise ValueError(
                    f"augment.amount {self.augment.amount} shifts the whole image away"
                )
        if isinstance(self.target, Hog) and self.block % self.target.cell:
            raise ValueError(f"block {self.block} is no multiple of target.cell {self.target.cell}")
