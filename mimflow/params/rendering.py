"""The keys that runs on a tokenizer share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import BeitViT, Count, Ratio, Section, Side
from mimflow.params.needs import TokenizerFile
from mimflow.params.training import Training


class Rendering(Section):
    """The tokenizer's rendering of the crop, a square of `size` pixels (published: DALL-E's 112 by
    lanczos for views of 224; VQ-KD's 224 by bicubic).
    """

    size: Side
    filter: Literal["bicubic", "lanczos"]


class Blocks(Section):
    """Rectangles until `hidden` patches are hidden (`mimflow/masks/blockwise.py`): at most so many
    (BEiT), or `exactly` (BEiT v2). `smallest`, `largest`: patches of a block, null: no bound.
    """

    kind: Literal["blocks"]
    hidden: Count
    smallest: Count
    largest: Count | None
    exactly: bool


class Scattered(Section):
    """Single patches, `hidden` of each image."""

    kind: Literal["random"]
    hidden: Count


Mask = Annotated[Blocks | Scattered, Field(discriminator="kind")]


class OnTokenizer(Training):
    """`needs`: the tokenizer, tokenizers/NAME/weights.safetensors. `tokens`: how it sees the crop.
    `jitter`: of colours (BEiT: 0.4).
    """

    encoder: BeitViT
    needs: TokenizerFile
    tokens: Rendering
    jitter: Ratio
    mask: Mask

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        patches = (self.encoder.img_size // self.encoder.patch_size) ** 2
        if self.mask.hidden > patches:
            raise ValueError(f"mask.hidden {self.mask.hidden} is more than {patches} patches")
