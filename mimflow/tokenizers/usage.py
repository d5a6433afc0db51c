"""How much of a codebook is in use, and the end of a training whose codebook dies.

Perplexity is exp of the entropy of the codes' histogram: K where all are equally frequent, 1 where
one code is left.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimflow.targets.momentum import epoch_ends
from mimflow.train.clock import Clock
from mimflow.train.outcome import Diverged
from mimflow.train.processes import total

ADVICE = (
    "a run on it would learn next to nothing. Fewer codes, more start images or rounds of k-means,"
    " codes that revive sooner, a slower fall of the temperature or a larger KL weight help"
)


def perplexity(counts: Tensor) -> Tensor:
    """Of a histogram (K,), as float64."""
    share = counts.double() / counts.sum().clamp(min=1)
    return torch.special.entr(share).sum().exp()


class Usage(nn.Module):
    """The histogram of the codes since the epoch began.

    At the end of an epoch, once the share `grace` of the budget is done, a perplexity below
    `least` K ends the training.
    """

    counts: Tensor

    def __init__(self, codes: int, least: float, grace: float):
        super().__init__()
        self.least, self.grace = least, grace
        self.register_buffer("counts", torch.zeros(codes, dtype=torch.float64))
        self._seen: list[Tensor] = []  # histograms of this step's micro-batches
        self._clock: Clock | None = None

    @torch.no_grad()
    def see(self, codes: Tensor, clock: Clock) -> None:
        """Counts the codes of a micro-batch."""
        found = torch.bincount(codes.flatten(), minlength=len(self.counts)).double()
        if clock != self._clock:  # what was seen outside of a step is forgotten
            self._seen, self._clock = [], clock
        self._seen.append(found)

    @torch.no_grad()
    def close(self, clock: Clock) -> Tensor:
        """Ends a step: the histogram (K,) of all its codes, on all ranks. Raises Diverged where an
        epoch ends and its histogram is too uneven.
        """
        found = total(torch.stack(self._seen).sum(0))
        self._seen = []
        self.counts += found
        if epoch_ends(clock):
            epoch = self.counts.clone()
            self.counts.zero_()
            self.check(epoch, (clock.step + 1) / clock.steps)
        return found

    def check(self, counts: Tensor, done: float) -> None:
        """Raises Diverged for a histogram that is too uneven when a share of the budget is done."""
        value, codes = float(perplexity(counts)), len(counts)
        if done >= self.grace and value < self.least * codes:
            used = int((counts > 0).sum())
            raise Diverged(
                f"the codebook dies: {used} of {codes} codes are in use, perplexity {value:.1f},"
                f" less than least_perplexity {self.least} of them; {ADVICE}"
            )
