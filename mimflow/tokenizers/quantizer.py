"""The nearest of K code vectors: how it is found, how the code vectors move, and how they begin.

Vectors and codes have length 1. `ema`: a code moves towards the mean of its vectors and takes no
gradient (VQ-KD, arXiv 2208.06366; van den Oord et al., arXiv 1711.00937); `gradient`: it is
trained. u a vector, q its code, sg what takes no gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mimflow.draw import Draw
from mimflow.tokenizers.usage import Usage
from mimflow.train.clock import Clock
from mimflow.train.processes import place_among, total


class Quantised(NamedTuple):
    """`vectors` (B, N, d): q, with the gradient of u; `codes` int64 (B, N); `loss` a scalar; the
    mean squared `distance` to the nearest code.
    """

    vectors: Tensor
    codes: Tensor
    loss: Tensor
    distance: Tensor


class Quantizer(nn.Module):
    """`decay`: of the moving code vectors, None: they are trained by gradient. `revive`: a code
    that no vector chose for so many steps begins again at a drawn vector of the last of them.
    """

    idle: Tensor

    def __init__(
        self,
        codes: int,
        dim: int,
        decay: float | None,
        commitment: float,
        revive: int | None,
        usage: Usage,
        seed: int,
    ):
        super().__init__()
        self.decay, self.commitment, self.revive, self.seed = decay, commitment, revive, seed
        first = normalize(torch.randn(codes, dim), dim=-1)
        self.codebook = nn.Parameter(first, requires_grad=decay is None)
        self.register_buffer(
            "idle", torch.zeros(codes, dtype=torch.int64)
        )  # steps without a vector
        self.usage = usage
        self._sums: list[Tensor] = []  # of the vectors of each code, by micro-batch of this step
        self._vectors: list[Tensor] = []  # (n, d), kept where codes revive

    def code_vectors(self) -> Tensor:
        """(K, d), of length 1."""
        return normalize(self.codebook, dim=-1)

    def forward(self, x: Tensor, clock: Clock) -> Quantised:
        """Quantises (B, N, d), in fp32; codes are looked up before they move."""
        with torch.autocast(x.device.type, enabled=False):
            u = normalize(x.float(), dim=-1, eps=1e-12)
            table = self.code_vectors()
            codes = (u.detach() @ table.detach().T).argmax(-1)  # the largest cosine is the nearest
            q = table[codes]
            loss = self.commitment * (q.detach() - u).square().mean()
            if self.decay is None:
                loss = loss + (q - u.detach()).square().mean()
            distance = (q - u).detach().square().sum(-1).mean()
        if self.training:
            self._remember(u.detach(), codes, clock)
        return Quantised(u + (q - u).detach(), codes, loss, distance)

    @torch.no_grad()
    def _remember(self, u: Tensor, codes: Tensor, clock: Clock) -> None:
        if clock != self.usage._clock:
            self._sums, self._vectors = [], []
        self.usage.see(codes, clock)
        sums = torch.zeros_like(self.codebook, dtype=torch.float64)
        self._sums.append(sums.index_add_(0, codes.flatten(), u.flatten(0, 1).double()))
        if self.revive is not None:
            self._vectors.append(u.flatten(0, 1))

    @torch.no_grad()
    def after_step(self, clock: Clock) -> Tensor:
        """Moves the codes by the step's vectors of all ranks, and revives; their histogram (K,).

        Raises Diverged where the codebook dies.
        """
        counts, sums = self.usage.close(clock), total(torch.stack(self._sums).sum(0))
        if self.decay is not None:
            mean = normalize(sums, dim=-1).float()
            moved = normalize(self.decay * self.codebook + (1 - self.decay) * mean, dim=-1)
            used = (counts > 0) & (sums.norm(dim=-1) > 0)
            self.codebook.copy_(torch.where(used[:, None], moved, self.codebook))
        self.idle.add_(1).masked_fill_(counts > 0, 0)
        if self.revive is not None:
            self._revive(self.idle >= self.revive, torch.cat(self._vectors), clock)
        self._sums, self._vectors = [], []
        return counts

    def _revive(self, dead: Tensor, vectors: Tensor, clock: Clock) -> None:
        """Puts a drawn one of the vectors of all ranks in the place of each `dead` code (K,);
        `vectors` (n, d) are this rank's.
        """
        rank, ranks = place_among()
        rows = torch.arange(len(dead), device=dead.device)
        draw = Draw(rows, "revive", self.seed, clock.step)
        place = draw.integers("of", 1, ranks * len(vectors))[:, 0] - rank * len(vectors)  # (K,)
        own = (place >= 0) & (place < len(vectors))
        found = total(vectors[place.clamp(0, len(vectors) - 1)] * own[:, None])  # (K, d)
        self.codebook.copy_(torch.where(dead[:, None], found, self.codebook))
        self.idle.masked_fill_(dead, 0)

    @torch.no_grad()
    def start(self, x: Tensor, rounds: int) -> None:
        """Begins with the centres of vectors (n, d). Raises ValueError for fewer than K."""
        u = normalize(x.float(), dim=-1, eps=1e-12)
        self.codebook.copy_(shared(centres(u, len(self.codebook), rounds, self.seed)))


def shared(x: Tensor) -> Tensor:
    """The first rank's `x` on all ranks."""
    return total(x if place_among()[0] == 0 else torch.zeros_like(x))


def centres(u: Tensor, count: int, rounds: int, seed: int) -> Tensor:
    """K = `count` centres (K, d) of unit vectors (n, d): k-means by cosine from K drawn vectors.

    A centre that loses all its vectors stays. Raises ValueError where n < K.
    """
    if len(u) < count:
        raise ValueError(f"start_images give {len(u)} vectors, fewer than {count} codes")
    rows = torch.arange(len(u), device=u.device)
    order = Draw(rows, "centres", seed).uniform("order", 1)[:, 0].argsort(stable=True)
    found = u[order[:count]].clone()
    for _ in range(rounds):
        nearest = torch.cat([(part @ found.T).argmax(-1) for part in u.split(1 << 14)])
        sums = torch.zeros_like(found, dtype=torch.float64).index_add_(0, nearest, u.double())
        kept = sums.norm(dim=-1, keepdim=True) > 0
        found = torch.where(kept, normalize(sums, dim=-1).float(), found)
    return found
