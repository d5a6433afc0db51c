"""dVAE: a picture as a grid of K-way choices from which a decoder rebuilds it.

The tokenizer of BEiT (arXiv 2106.08254) is DALL-E's (Ramesh et al., arXiv 2102.12092): a relaxed
choice at a falling temperature, the likelihood of the pixels, and a divergence that keeps the codes
in use. s, t what maps pixels in [0, 1] to the input: s x + t.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mimflow.data.augment import Views, one_view
from mimflow.draw import Draw
from mimflow.params.tokenizers import DVAE
from mimflow.tokenizers.convs import Down, Up, as_tokens
from mimflow.tokenizers.frozen import Frozen
from mimflow.tokenizers.gumbel import annealed, begin, divergence, hard_vectors, sample
from mimflow.tokenizers.usage import Usage, perplexity
from mimflow.train.clock import Clock

MAPS = {"laplace": (0.8, 0.1), "squared": (2.0, -1.0)}  # s, t


class DVAETokenizer(nn.Module):
    """Trained on pictures (B, 3, S, S) in [0, 1]."""

    def __init__(self, params: DVAE, encoder: Down, decoder: Up, usage: Usage):
        super().__init__()
        self.params, self.encoder, self.decoder, self.usage = params, encoder, decoder, usage
        self.table = nn.Parameter(torch.randn(params.codes, params.dim) * params.dim**-0.5)
        self.scale, self.shift = MAPS[params.likelihood]
        self.start_images = 0 if params.start is None else params.start.images
        self.grid = (params.img_size // params.patch_size,) * 2

    def logits(self, images: Tensor) -> Tensor:
        """(B, N, K), fp32."""
        return as_tokens(self.encoder(images * self.scale + self.shift)).float()

    def decode(self, vectors: Tensor) -> Tensor:
        """Raw output (B, 3 or 6, S, S) of vectors (B, N, d)."""
        x = vectors.transpose(1, 2).unflatten(2, self.grid)
        return self.decoder(x).float()

    def error(self, out: Tensor, images: Tensor) -> Tensor:
        """Mean over values: the negative log-likelihood under a logit-Laplace, or the square."""
        x = images * self.scale + self.shift
        if self.params.likelihood == "squared":
            return (out - x).square().mean()
        place, spread = out.chunk(2, dim=1)
        spread = spread.clamp(-7, 7)  # log of the width: e^7 is beyond any picture
        inside = (x * (1 - x)).log()
        return ((x.logit() - place).abs() * (-spread).exp() + spread + inside + 0.6931).mean()

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        images, params = batch["image"], self.params
        logits = self.logits(images)  # (B, N, K)
        weights = sample(logits, draw, annealed(params.temperature, clock), params.straight)
        error = self.error(self.decode(weights @ self.table), images)
        uneven = divergence(logits)
        loss = error + annealed(params.kl, clock) * uneven
        codes = logits.detach().argmax(-1)
        counts = torch.bincount(codes.flatten(), minlength=params.codes)
        if self.training:
            counts = self.usage.see(codes, clock)
        numbers = {"error": error.detach(), "divergence": uneven.detach()}
        return {"loss": loss, **numbers, "perplexity": perplexity(counts).float()}

    def after_step(self, clock: Clock) -> None:
        """Counts codes; ends a training whose codebook dies."""
        self.usage.close(clock)

    def start(self, images: Tensor) -> None:
        """Begins the codes with clusters, if the parameters say so, of pictures (B, 3, S, S)."""
        how = self.params.start
        if how is not None:
            begin(self.encoder, self.table, images * self.scale + self.shift, how, self.params.seed)

    def rebuilt(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [0, 1] from the likeliest codes."""
        out = self.decode(hard_vectors(self.logits(images), self.table))
        if self.params.likelihood == "laplace":
            out = out[:, :3].sigmoid()
        return ((out - self.shift) / self.scale).clamp(0, 1)

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """The input, and what its codes say."""
        return {"input": batch["image"], "rebuilt": self.rebuilt(batch["image"])}

    def frozen(self, card: dict[str, Any]) -> Frozen:
        """What is kept: the encoder."""
        convs = self.params.convs
        net = {"kind": "convs", "widths": convs.widths, "blocks": convs.blocks}
        own = {"net": {**net, "out": self.params.codes}, "codes": self.params.codes}
        return Frozen(self.encoder, None, {**card, **own, "scale": self.scale, "shift": self.shift})


def views(params: DVAE) -> Views:
    """One view of each image."""
    return one_view(params.augment, params.img_size)


def build(params: DVAE) -> DVAETokenizer:
    """The tokenizer, to be trained."""
    widths, blocks = params.convs.widths, params.convs.blocks
    out = 6 if params.likelihood == "laplace" else 3
    usage = Usage(params.codes, params.least_perplexity, params.grace)
    encoder, decoder = Down(widths, blocks, params.codes), Up(widths, blocks, params.dim, out)
    return DVAETokenizer(params, encoder, decoder, usage)
