"""The protocol of `knn`: weighted k-nearest neighbours (Wu et al., arXiv 1805.01978, section 3.4;
DINO, arXiv 2104.14294, evaluates k = 10, 20, 100, 200 at temperature 0.07)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimflow.params.fields import Count, Positive, Section, Threads


class KnnGrid(Section):
    """Every pair of the two is measured."""

    k: Annotated[list[Count], Field(min_length=1)]
    temperature: Annotated[list[Positive], Field(min_length=1)]


class Knn(Section):
    """`k` and `temperature`: the pair whose accuracy is the headline; it stands in the grid."""

    k: Count
    temperature: Positive
    grid: KnnGrid
    standardise: bool
    threads: Threads

    def model_post_init(self, context: object) -> None:
        if self.k not in self.grid.k:
            raise ValueError(f"k {self.k} is not in grid.k {self.grid.k}")
        if self.temperature not in self.grid.temperature:
            raise ValueError(
                f"temperature {self.temperature} is not in grid.temperature {self.grid.temperature}"
            )
