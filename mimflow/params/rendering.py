"""What a run on a tokenizer states about its views and masks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import Count, Section, Side


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
