"""A picture as a grid of K-way choices from which a decoder rebuilds it, with a gradient through
the choice: what the dVAE and the Gumbel VQGAN share. They differ in what a rebuilt picture costs.

Pixels x in [0, 1] enter as s x + t.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from mimflow.draw import Draw
from mimflow.params.tokenizers import Gumbel
from mimflow.tokenizers.convs import Down, Up, as_tokens
from mimflow.tokenizers.frozen import Frozen
from mimflow.tokenizers.gumbel import annealed, begin, divergence, hard_vectors, sample
from mimflow.tokenizers.usage import Usage, perplexity
from mimflow.train.clock import Clock


class GumbelAutoencoder(nn.Module, ABC):
    """Trained on pictures (B, 3, S, S) in [0, 1]. `out`: channels that the decoder gives; `scale`:
    s; `shift`: t.
    """

    def __init__(self, params: Gumbel, out: int, scale: float, shift: float):
        super().__init__()
        widths, blocks = params.convs.widths, params.convs.blocks
        self.params, self.scale, self.shift = params, scale, shift
        self.encoder = Down(widths, blocks, params.codes)
        self.decoder = Up(widths, blocks, params.dim, out)
        self.table = nn.Parameter(torch.randn(params.codes, params.dim) * params.dim**-0.5)
        self.usage = Usage(params.codes, params.least_perplexity, params.grace)
        self.start_images = 0 if params.start is None else params.start.images
        self.grid = (params.img_size // params.patch_size,) * 2

    @abstractmethod
    def cost(self, out: Tensor, x: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        """What the decoder's `out` (B, 3 or 6, S, S) costs for pictures x (B, 3, S, S) as they
        entered, and numbers to report.
        """

    def picture(self, out: Tensor) -> Tensor:
        """(B, 3, S, S), as pictures enter, of the decoder's `out`."""
        return out

    def enter(self, images: Tensor) -> Tensor:
        """s x + t."""
        return images * self.scale + self.shift

    def logits(self, x: Tensor) -> Tensor:
        """(B, N, K), fp32, of pictures x as they enter."""
        return as_tokens(self.encoder(x)).float()

    def decode(self, vectors: Tensor) -> Tensor:
        """Raw output (B, 3 or 6, S, S) of vectors (B, N, d)."""
        return self.decoder(vectors.transpose(1, 2).unflatten(2, self.grid)).float()

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        x, params = self.enter(batch["image"]), self.params
        logits = self.logits(x)  # (B, N, K)
        weights = sample(logits, draw, annealed(params.temperature, clock), params.straight)
        error, numbers = self.cost(self.decode(weights @ self.table), x, clock)
        uneven = divergence(logits)
        loss = error + annealed(params.kl, clock) * uneven
        if self.training:
            self.usage.see(logits.detach().argmax(-1), clock)
        told = {name: value.detach() for name, value in {**numbers, "divergence": uneven}.items()}
        return {"loss": loss, **told}

    def after_step(self, clock: Clock) -> dict[str, Tensor]:
        """Counts codes, for the step's `perplexity`; ends a training whose codebook dies."""
        return {"perplexity": perplexity(self.usage.close(clock)).float()}

    def start(self, images: Tensor) -> None:
        """Begins the codes with clusters, if the parameters say so, of pictures (B, 3, S, S)."""
        how = self.params.start
        if how is not None:
            begin(self.encoder, self.table, self.enter(images), how, self.params.seed)

    def rebuilt(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [0, 1] from the likeliest codes."""
        out = self.decode(hard_vectors(self.logits(self.enter(images)), self.table))
        return ((self.picture(out) - self.shift) / self.scale).clamp(0, 1)

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """The input, and what its codes say."""
        return {"input": batch["image"], "rebuilt": self.rebuilt(batch["image"])}

    def frozen(self, card: dict[str, Any]) -> Frozen:
        """What is kept: the encoder, whose output is the logits."""
        convs = self.params.convs
        net = {"kind": "convs", "widths": convs.widths, "blocks": convs.blocks}
        own = {"net": {**net, "out": self.params.codes}, "codes": self.params.codes}
        return Frozen(self.encoder, None, {**card, **own, "scale": self.scale, "shift": self.shift})
