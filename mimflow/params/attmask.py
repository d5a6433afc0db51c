"""The keys of a run of AttMask."""

from __future__ import annotations

from typing import Literal

from mimflow.params.fields import Fraction, Ratio, Section
from mimflow.params.selfdistill import SelfDistilled


class AttentionMasking(Section):
    """`kind`: the most attended patches are hidden (high), some of the very first shown again
    (hint), or the least attended (low). A step hides a share `ratio` plus or minus `spread`
    (published: 0.3, 0.2), in a share `probability` of the crops (published: 0.5). `shown`: the
    share of all patches that hints are drawn from (published: 0.1).
    """

    kind: Literal["high", "hint", "low"]
    ratio: Ratio
    spread: Fraction
    probability: Fraction
    shown: Fraction

    def model_post_init(self, context: object) -> None:
        if self.spread > self.ratio or self.ratio + self.spread > 1:
            raise ValueError(f"ratio {self.ratio} with spread {self.spread} leaves 0 to 1")

    @property
    def highest(self) -> float:
        """The largest share of a crop."""
        return self.ratio + self.spread


class AttMaskParams(SelfDistilled):
    """`masking`: what is hidden from the student. In plain self-distillation of the class token
    `distil.patches.weight` is 0.
    """

    masking: AttentionMasking
