"""The keys of a run of iBOT."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import Fraction, Ratio, Section
from mimflow.params.selfdistill import SelfDistilled


class Masking(Section):
    """`kind`: rectangles or single patches. Each global crop hides a share of an entry of `ratio`,
    plus or minus its `spread` (published: [0.0, 0.3] and [0.0, 0.2], so half of them hide none).
    """

    kind: Literal["block", "random"]
    ratio: Annotated[list[Ratio], Field(min_length=1)]
    spread: list[Fraction]

    def model_post_init(self, context: object) -> None:
        if len(self.ratio) != len(self.spread):
            raise ValueError(f"spread {self.spread} has not one entry for each ratio {self.ratio}")
        for ratio, spread in zip(self.ratio, self.spread, strict=True):
            if spread > ratio or ratio + spread > 1:
                raise ValueError(f"ratio {ratio} with spread {spread} leaves 0 to 1")

    @property
    def highest(self) -> float:
        """The largest share of a crop."""
        return max(r + s for r, s in zip(self.ratio, self.spread, strict=True))


class IBOTParams(SelfDistilled):
    """`masking`: what is hidden from the student."""

    masking: Masking
