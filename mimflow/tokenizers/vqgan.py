"""VQGAN with Gumbel codes: a discrete autoencoder whose pictures have to pass an adversary. It
keeps logits over the codes, which mc-BEiT needs.

Esser et al., "Taming Transformers for High-Resolution Image Synthesis", arXiv 2012.09841, in the
form with 8192 Gumbel codes at stride 8 that mc-BEiT uses (arXiv 2203.15371).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mimflow.data.augment import Views, one_view
from mimflow.draw import Draw
from mimflow.params.tokenizers import VQGAN
from mimflow.tokenizers.adversary import Opponent, pixel_error
from mimflow.tokenizers.convs import Down, Up, as_tokens
from mimflow.tokenizers.frozen import Frozen
from mimflow.tokenizers.gumbel import annealed, begin, divergence, hard_vectors, sample
from mimflow.tokenizers.usage import Usage, perplexity
from mimflow.train.clock import Clock

SCALE, SHIFT = 2.0, -1.0  # pixels in [-1, 1]


class VQGANTokenizer(nn.Module):
    """Trained on pictures (B, 3, S, S) in [0, 1]."""

    def __init__(self, params: VQGAN, encoder: Down, decoder: Up, usage: Usage):
        super().__init__()
        self.params, self.encoder, self.decoder, self.usage = params, encoder, decoder, usage
        self.table = nn.Parameter(torch.randn(params.codes, params.dim) * params.dim**-0.5)
        self.opponent = Opponent(params.adversary)
        self.start_images = 0 if params.start is None else params.start.images
        self.grid = (params.img_size // params.patch_size,) * 2

    def logits(self, images: Tensor) -> Tensor:
        """(B, N, K), fp32, of pictures in [-1, 1]."""
        return as_tokens(self.encoder(images)).float()

    def decode(self, vectors: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] or beyond, of vectors (B, N, d)."""
        return self.decoder(vectors.transpose(1, 2).unflatten(2, self.grid)).float()

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        images, params = batch["image"] * SCALE + SHIFT, self.params
        logits = self.logits(images)  # (B, N, K)
        weights = sample(logits, draw, annealed(params.temperature, clock), params.straight)
        rebuilt = self.decode(weights @ self.table)
        error, uneven = pixel_error(rebuilt, images, params.distance), divergence(logits)
        term, own = self.opponent(images, rebuilt, clock)
        loss = error + annealed(params.kl, clock) * uneven + term + own
        codes = logits.detach().argmax(-1)
        counts = torch.bincount(codes.flatten(), minlength=params.codes)
        if self.training:
            counts = self.usage.see(codes, clock)
        numbers = {"error": error, "divergence": uneven, "adversary": own}
        numbers = {name: x.detach() for name, x in numbers.items()}
        return {"loss": loss, **numbers, "perplexity": perplexity(counts).float()}

    def after_step(self, clock: Clock) -> None:
        """Counts codes; ends a training whose codebook dies."""
        self.usage.close(clock)

    def start(self, images: Tensor) -> None:
        """Begins the codes with clusters, if the parameters say so, of pictures (B, 3, S, S)."""
        how = self.params.start
        if how is not None:
            begin(self.encoder, self.table, images * SCALE + SHIFT, how, self.params.seed)

    def rebuilt(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [0, 1] from the likeliest codes."""
        out = self.decode(hard_vectors(self.logits(images * SCALE + SHIFT), self.table))
        return ((out - SHIFT) / SCALE).clamp(0, 1)

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """The input, and what its codes say."""
        return {"input": batch["image"], "rebuilt": self.rebuilt(batch["image"])}

    def frozen(self, card: dict[str, Any]) -> Frozen:
        """What is kept: the encoder, whose output is the logits."""
        convs = self.params.convs
        net = {"kind": "convs", "widths": convs.widths, "blocks": convs.blocks}
        own = {"net": {**net, "out": self.params.codes}, "codes": self.params.codes}
        return Frozen(self.encoder, None, {**card, **own, "scale": SCALE, "shift": SHIFT})


def views(params: VQGAN) -> Views:
    """One view of each image."""
    return one_view(params.augment, params.img_size)


def build(params: VQGAN) -> VQGANTokenizer:
    """The tokenizer, to be trained."""
    widths, blocks = params.convs.widths, params.convs.blocks
    usage = Usage(params.codes, params.least_perplexity, params.grace)
    encoder, decoder = Down(widths, blocks, params.codes), Up(widths, blocks, params.dim, 3)
    return VQGANTokenizer(params, encoder, decoder, usage)
