"""The keys of fine-tuning: an encoder and a new head trained together on few or many labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import Augment, Count, Fraction, NonNegative, Positive, Ratio, Seed
from mimflow.params.training import Budget


class Finetune(Budget):
    """MAE's protocol (arXiv 2111.06377, A.2) with its sizes as keys.

    `labels`: share of the labelled training images that is used, the same number of each class.
    `seeds`: one training each; `seed` draws the choice of images. `pool`: mean of the patch tokens
    with a norm of its own, or class token. `layer_decay`: rate of a layer over the next one's.
    `mixup`, `cutmix`: their alphas, 0 for none; they mix pairs. `erase`: probability of random
    erasing. `rand_augment`: timm's configuration string, null for none. `average`: momentum of the
    averaged weights that are evaluated, null for the last ones. `head_std`: of the head's initial
    weights.
    """

    labels: Annotated[Fraction, Field(gt=0)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    pool: Literal["mean", "cls"]
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    drop_path: Ratio
    mixup: NonNegative
    cutmix: NonNegative
    smoothing: Ratio
    erase: Fraction
    rand_augment: str | None
    average: Ratio | None
    head_std: Positive
    augment: Augment
    eval_batch: Count

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if (self.mixup or self.cutmix) and self.compute.micro_batch % 2:
            raise ValueError(
                f"compute.micro_batch {self.compute.micro_batch}: mixup and cutmix mix pairs;"
                " allowed: even numbers"
            )
