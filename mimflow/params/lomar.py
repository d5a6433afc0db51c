"""The keys of a run of LoMaR."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import Count, Hog, PlainViT, Ratio, RelativeViT, Target
from mimflow.params.training import Training


class LoMaRParams(Training):
    """Published: `window` 7 patches on a side, `num_windows` 4 of each image, `mask_ratio` 0.8 of
    each, rounded down, `target` standardised pixels.

    `pairing`: `per_image` cuts each image at all places, which the whole batch shares, as the
    article says; with `own_corners` each image has places of its own; `reference` pairs windows and
    images as the reference code does: of the B images that are on the device together, each is cut
    at num_windows / gcd(B, num_windows) places only, so `micro_batch` changes what is seen.
    """

    encoder: Annotated[RelativeViT | PlainViT, Field(discriminator="kind")]
    window: Count
    num_windows: Count
    mask_ratio: Ratio
    pairing: Literal["per_image", "own_corners", "reference"]
    target: Target

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        free = self.encoder.img_size // self.encoder.patch_size - self.window + 1
        if self.num_windows > free:
            raise ValueError(
                f"num_windows {self.num_windows}: a window of {self.window} patches has"
                f" {max(free, 0)} places along a side, and no two windows may share one"
            )
        patch = self.encoder.patch_size
        if isinstance(self.target, Hog) and patch % self.target.cell:
            raise ValueError(f"target.cell {self.target.cell} does not divide a patch of {patch}")
        if int(self.mask_ratio * self.window**2 + 1e-6) < 1:
            raise ValueError(f"mask_ratio {self.mask_ratio} hides no patch of {self.window**2}")
