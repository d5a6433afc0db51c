"""The keys of a teacher that is trained here by MoCo v3."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import Count, Fraction, NonNegative, PlainViT, Positive, Ratio, Section
from mimflow.params.needs import Images
from mimflow.params.training import Budget

Pair = Annotated[list[Fraction], Field(min_length=2, max_length=2)]
Jitter = Annotated[list[NonNegative], Field(min_length=4, max_length=4)]


class Contrast(Section):
    """Two views of an image. `smallest`: area of a crop, as a share (published: 0.08).

    `jitter`: brightness, contrast, saturation, hue, at `jitter_chance`; `grey`: chance of no
    colour. `blur` and `solarise`: chances in the first and in the second view.
    """

    smallest: Annotated[float, Field(gt=0, le=1)]
    flip: bool
    jitter: Jitter
    jitter_chance: Fraction
    grey: Fraction
    blur: Pair
    solarise: Pair

    def model_post_init(self, context: object) -> None:
        if max(self.jitter[:3]) > 1 or self.jitter[3] > 0.5:
            raise ValueError(f"jitter {self.jitter}: at most 1, 1, 1 and 0.5")


class Heads(Section):
    """The projector on the class token and the predictor: width inside, width that leaves."""

    hidden: Count
    out: Count


class MoCoTeacher(Budget):
    """`temperature`: of the loss (published: 0.2); `momentum`: of the second network at the start,
    1 at the end (published: 0.99). `order_window`: as of a run.
    """

    kind: Literal["mocov3"]
    needs: Images
    order_window: Annotated[int, Field(ge=16)] | None
    encoder: PlainViT
    views: Contrast
    heads: Heads
    temperature: Positive
    momentum: Ratio

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.compute.parallel == "fsdp":  # the slow network follows in the middle of a step
            raise ValueError("compute.parallel 'fsdp' is not for MoCo v3; allowed: ddp")
