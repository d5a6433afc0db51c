"""Where a run is: the only time that a method knows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """`step` of `steps` optimiser steps; `epoch` of `epochs` passes over the data, fractional."""

    step: int
    steps: int
    epoch: float
    epochs: float

    @property
    def fraction(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return self.step / self.steps
