"""The keys of a teacher that learns here from images and their captions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import Augment, Count, PlainViT, Positive, Ratio, Section
from mimflow.params.needs import Images, RunFile
from mimflow.params.training import Budget


class Text(Section):
    """The tower that reads: `depth` blocks of `width`, captions of up to `length` words.

    `drop_words`: up to this share of a caption's words is left out, each time another one.
    """

    width: Count
    depth: Count
    num_heads: Count
    length: Count
    drop_words: Ratio

    def model_post_init(self, context: object) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")


class CaptionTeacher(Budget):
    """`joint`: width of the space where images and captions meet; `temperature`: its first value,
    which is learned (CLIP: 0.07). `order_window`, `augment`: as of a run. `needs`: the images
    alone, or runs/NAME/encoder.safetensors, whose weights the image tower begins with.
    """

    kind: Literal["caption"]
    needs: Images | RunFile
    order_window: Annotated[int, Field(ge=16)] | None
    encoder: PlainViT
    augment: Augment
    text: Text
    joint: Count
    temperature: Positive

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.augment.flip:
            raise ValueError("augment.flip true: a caption's left and right would be wrong")
