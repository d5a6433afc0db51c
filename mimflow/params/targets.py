"""What is to be predicted, where a method leaves the choice."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import Count, Section


class Hog(Section):
    """Histograms of oriented gradients (`mimflow/targets/hog.py`).

    `bins`: directions of a half turn (published: 9). `cell`: its side in pixels (published: 8).
    `window`: side of a Gaussian window over the pixels, null for none (FastMIM: null; MaskFeat:
    16). `normalise`: each histogram to length 1.
    """

    kind: Literal["hog"]
    bins: Annotated[int, Field(ge=2)]
    cell: Count
    window: Annotated[int, Field(ge=2)] | None
    normalise: bool


class Pixels(Section):
    """The pixels of a patch; `norm_pixels`: standardised, as in MAE."""

    kind: Literal["pixels"]
    norm_pixels: bool


Target = Annotated[Hog | Pixels, Field(discriminator="kind")]
