"""The keys of a teacher that is trained here by MoCo v3."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.colour import Colour
from mimflow.params.fields import Augment, Count, PlainViT, Positive, Ratio, Section
from mimflow.params.needs import Images
from mimflow.params.training import Budget


class Heads(Section):
    """The projector on the class token and the predictor: width inside, width that leaves."""

    hidden: Count
    out: Count


class MoCoTeacher(Budget):
    """`temperature`: of the loss (published: 0.2); `momentum`: of the second network at the start,
    1 at the end (published: 0.99). `augment`, `colour`: of the two crops. `order_window`: as of a
    run.
    """

    kind: Literal["mocov3"]
    needs: Images
    order_window: Annotated[int, Field(ge=16)] | None
    encoder: PlainViT
    augment: Augment
    colour: Colour
    heads: Heads
    temperature: Positive
    momentum: Ratio

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.augment.kind != "crop":
            raise ValueError("augment.kind: the two views are of kind 'crop'")
        if self.compute.parallel == "fsdp":  # the slow network follows in the middle of a step
            raise ValueError("compute.parallel 'fsdp' is not for MoCo v3; allowed: ddp")
