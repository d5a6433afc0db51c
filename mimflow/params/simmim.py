"""The keys of a run of SimMIM."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimflow.params.fields import BeitViT, Count, GridNet, PlainViT, Ratio
from mimflow.params.training import Training


class SimMIMParams(Training):
    """`mask_ratio`: share of hidden cells, rounded up (published: 0.6); `cell`: side of a cell in
    pixels, a multiple of the encoder's patch (published: 32).
    """

    encoder: Annotated[PlainViT | BeitViT | GridNet, Field(discriminator="kind")]
    mask_ratio: Ratio
    cell: Count

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.encoder.img_size % self.cell:
            raise ValueError(
                f"encoder.img_size {self.encoder.img_size} is not a multiple of cell {self.cell}"
            )
