"""PeCo's tokenizer: a VQ-VAE whose pictures have to look right to a network, not only be near.

Dong et al., "PeCo: Perceptual Codebook for BERT Pre-training of Vision Transformers",
arXiv 2111.12710. The network is self-supervised, frozen, ours or imported; it compares the picture
with the rebuilt one. Weight 0 is the control: a plain VQ-VAE.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimflow.data.augment import Views, one_view
from mimflow.draw import Draw
from mimflow.params.tokenizers import Perceptual
from mimflow.tokenizers.adversary import Opponent, pixel_error
from mimflow.tokenizers.convs import Down, Up, as_tokens
from mimflow.tokenizers.frozen import Frozen
from mimflow.tokenizers.network import Network, depths, load_network
from mimflow.tokenizers.quantizer import Quantised, Quantizer
from mimflow.tokenizers.usage import Usage, perplexity
from mimflow.train.clock import Clock

SCALE, SHIFT = 2.0, -1.0  # pixels in [-1, 1]


class PerceptualTokenizer(nn.Module):
    """Trained on pictures (B, 3, S, S) in [0, 1]; `judge`: the network that looks."""

    def __init__(
        self,
        params: Perceptual,
        encoder: Down,
        quantizer: Quantizer,
        decoder: Up,
        judge: Network,
        opponent: Opponent | None,
    ):
        super().__init__()
        self.params, self.encoder, self.quantizer = params, encoder, quantizer
        self.decoder, self.judge, self.opponent = decoder, judge, opponent
        self.usage = quantizer.usage
        self.start_images = params.codebook.start_images
        self.grid = (params.img_size // params.patch_size,) * 2

    def quantised(self, images: Tensor, clock: Clock) -> Quantised:
        """The nearest codes of each place, of pictures in [-1, 1]."""
        return self.quantizer(as_tokens(self.encoder(images)), clock)

    def decode(self, vectors: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] or beyond, of vectors (B, N, d)."""
        return self.decoder(vectors.transpose(1, 2).unflatten(2, self.grid)).float()

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        images, params = batch["image"] * SCALE + SHIFT, self.params
        found = self.quantised(images, clock)
        rebuilt = self.decode(found.vectors)
        pixels = pixel_error(rebuilt, images, params.distance)
        loss = pixels + found.loss
        numbers = {"error": pixels.detach(), "distance": found.distance}
        if params.weight:
            pictures = batch["image"], (rebuilt - SHIFT) / SCALE
            with torch.autocast(rebuilt.device.type, torch.bfloat16, params.sight == "bf16"):
                seen = perceived(self.judge, *pictures, params.layers)
            loss = loss + params.weight * seen
            numbers["perceived"] = seen.detach()
        if self.opponent is not None:
            term, own = self.opponent(images, rebuilt, clock)
            loss = loss + term + own
            numbers["adversary"] = own.detach()
        return {"loss": loss, **numbers}

    def after_step(self, clock: Clock) -> dict[str, Tensor]:
        """Moves the codes, for the step's `perplexity`; ends a training whose codebook dies."""
        return {"perplexity": perplexity(self.quantizer.after_step(clock)).float()}

    @torch.no_grad()
    def start(self, images: Tensor) -> None:
        """Begins the codes with k-means over the vectors of pictures (B, 3, S, S)."""
        parts = [as_tokens(self.encoder(x * SCALE + SHIFT)).flatten(0, 1) for x in images.split(64)]
        self.quantizer.start(torch.cat(parts), self.params.codebook.rounds)

    def rebuilt(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [0, 1] from their codes."""
        found = self.quantised(images * SCALE + SHIFT, Clock(0, 1, 0.0, 1.0))
        return ((self.decode(found.vectors) - SHIFT) / SCALE).clamp(0, 1)

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """The input, and what its codes say."""
        return {"input": batch["image"], "rebuilt": self.rebuilt(batch["image"])}

    def frozen(self, card: dict[str, Any]) -> Frozen:
        """What is kept: the encoder and the codebook."""
        convs, book = self.params.convs, self.quantizer.code_vectors().detach()
        net = {"kind": "convs", "widths": convs.widths, "blocks": convs.blocks}
        own = {"net": {**net, "out": book.shape[1]}, "codes": len(book)}
        return Frozen(self.encoder, book, {**card, **own, "scale": SCALE, "shift": SHIFT})


def perceived(judge: Network, images: Tensor, rebuilt: Tensor, layers: list[int]) -> Tensor:
    """The distance of two pictures (B, 3, S, S) in [0, 1] to the network: the mean squared
    difference of each layer, added up. A gradient reaches `rebuilt` alone.
    """
    with torch.no_grad():
        target = judge.states(images, layers)
    pairs = zip(judge.states(rebuilt, layers), target, strict=True)
    return torch.stack([(a - b).square().mean() for a, b in pairs]).sum()


def views(params: Perceptual) -> Views:
    """One view of each image."""
    return one_view(params.augment, params.img_size)


def build(params: Perceptual) -> PerceptualTokenizer:
    """The tokenizer, to be trained. Raises ValueError where the network has no such layers, or
    takes pictures of another size.
    """
    judge = load_network(Path(params.needs), params.img_size)
    depth = len(depths(judge.encoder))
    if max(params.layers) > depth:
        raise ValueError(f"layers {params.layers}: {params.needs} has {depth} blocks")
    book, convs = params.codebook, params.convs
    encoder = Down(convs.widths, convs.blocks, book.dim)
    decoder = Up(convs.widths, convs.blocks, book.dim, 3)
    usage = Usage(book.codes, params.least_perplexity, params.grace)
    how = (book.decay, book.commitment, book.revive)
    quantizer = Quantizer(book.codes, book.dim, *how, usage, params.seed)
    opponent = None if params.adversary is None else Opponent(params.adversary)
    return PerceptualTokenizer(params, encoder, quantizer, decoder, judge, opponent)
