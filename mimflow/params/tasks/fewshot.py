"""The protocol of `fewshot`: logistic regression on few labels, each setting with several draws of
the labelled images: n of each class (MSN, arXiv 2204.07141), and shares such as 1 % and 10 %
(SimCLR, arXiv 2002.05709) of the labels of those training images whose features are there
(`features.train_images`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimflow.params.fields import Count, Positive, Section, Seed, Threads

Share = Annotated[float, Field(gt=0, lt=1)]


class Fewshot(Section):
    """`shown`: the headline, one of shot1, shot2, ..., or of share1 (1 %), share10, ..."""

    shots: Annotated[list[Count], Field(min_length=1)]
    shares: list[Share]
    shown: str
    draws: Annotated[int, Field(ge=1, le=255)]
    c: Positive
    max_iter: Count
    seed: Seed
    threads: Threads

    def settings(self) -> dict[str, int | float]:
        """Name -> images of each class (int), or share of each class (float)."""
        shots: dict[str, int | float] = {f"shot{n}": n for n in self.shots}
        return shots | {f"share{100 * share:g}": share for share in self.shares}

    def model_post_init(self, context: object) -> None:
        if self.shown not in self.settings():
            raise ValueError(f"shown {self.shown!r} is none of {', '.join(self.settings())}")
