"""The keys that iBOT and AttMask share: crops, colours, head, self-distillation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimflow.params.colour import Colour
from mimflow.params.fields import Codes, Count, Fraction, LearnedViT, Positive, Ratio, Section, Side
from mimflow.params.training import Training

Share = Annotated[float, Field(gt=0, le=1)]


class Crops(Section):
    """`count` local crops of `size` pixels (published: 10 of 96), of an `area` between two shares
    of the image (published: 0.05 to 0.25). The two global crops are `augment`'s.
    """

    count: Annotated[int, Field(ge=0)]
    size: Side
    area: Annotated[list[Share], Field(min_length=2, max_length=2)]

    def model_post_init(self, context: object) -> None:
        if self.area[0] > self.area[1]:
            raise ValueError(f"area {self.area} is not ascending")


class Head(Section):
    """An MLP of two layers of `hidden`, unit features of width `bottleneck`, `codes` directions;
    `patch_codes`: as many again for patches alone, null for the same ones. `train_gain`: each
    direction has a learned gain.
    """

    hidden: Count
    bottleneck: Count
    codes: Codes
    patch_codes: Codes | None
    train_gain: bool


class Term(Section):
    """A loss of `weight`, 0 for none. `temperature`: the teacher's, in the first epoch and after
    the warm-up. `centre_momentum`: of the running mean logit; 1 for no centring.
    """

    weight: Annotated[float, Field(ge=0)]
    temperature: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    centre_momentum: Fraction


class Distil(Section):
    """`classes` between crops, `patches` within a crop. `warmup_epochs`: of the temperatures;
    `freeze_epochs`: whole epochs without a change of the last layer; `momentum`: of the teacher at
    the first step, 1 at the last.
    """

    student_temperature: Positive
    classes: Term
    patches: Term
    warmup_epochs: Count
    freeze_epochs: Annotated[int, Field(ge=0)]
    momentum: Ratio


class SelfDistilled(Training):
    """`drop_path`: how often the student's last block leaves out a branch, the first's never.
    `colour`: null for none.
    """

    encoder: LearnedViT
    drop_path: Ratio
    crops: Crops
    colour: Colour | None
    head: Head
    distil: Distil

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.augment.kind != "crop":
            raise ValueError("augment.kind: the global crops are of kind 'crop'")
        if self.crops.size % self.encoder.patch_size:
            raise ValueError(
                f"crops.size {self.crops.size} is not a multiple of"
                f" encoder.patch_size {self.encoder.patch_size}"
            )
        if self.head.patch_codes is not None and not self.distil.patches.weight:
            raise ValueError(
                "head.patch_codes: nothing learns them where distil.patches.weight is 0;"
                " allowed: null"
            )
        if self.compute.recompute and self.drop_path and self.crops.count:
            raise ValueError(
                "compute.recompute: not with drop_path and local crops, whose draws differ"
            )
