"""VQ-KD: the tokenizer of BEiT v2. Its codes rebuild a teacher's features instead of the pixels.

Peng et al., "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers",
arXiv 2208.06366. The teacher is any network that gives patch tokens (B, N, D').
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimflow.data.augment import Views, one_view
from mimflow.draw import Draw
from mimflow.params.tokenizers import VQKD
from mimflow.tokenizers.colours import coloured
from mimflow.tokenizers.frozen import Frozen
from mimflow.tokenizers.network import Network, load_network
from mimflow.tokenizers.patches import PatchNet
from mimflow.tokenizers.quantizer import Quantised, Quantizer
from mimflow.tokenizers.usage import Usage, perplexity
from mimflow.train.clock import Clock

SCALE, SHIFT = 2.0, -1.0  # pixels in [-1, 1]


class VQKDTokenizer(nn.Module):
    """Trained on pictures (B, 3, S, S) in [0, 1]."""

    def __init__(
        self,
        params: VQKD,
        encoder: PatchNet,
        quantizer: Quantizer,
        decoder: PatchNet,
        teacher: Network,
    ):
        super().__init__()
        self.params, self.encoder, self.quantizer = params, encoder, quantizer
        self.decoder, self.teacher, self.usage = decoder, teacher, quantizer.usage
        self.start_images = params.codebook.start_images
        self.grid = (params.img_size // params.patch_size,) * 2

    def quantised(self, images: Tensor, clock: Clock) -> Quantised:
        """The nearest codes of each patch."""
        return self.quantizer(self.encoder(images * SCALE + SHIFT), clock)

    def far(self, found: Quantised, images: Tensor) -> Tensor:
        """(B, N): 1 minus the cosine of the rebuilt and the teacher's features."""
        x = found.vectors.transpose(1, 2).unflatten(2, self.grid)  # (B, d, h, w)
        target = self.teacher.tokens(images)  # (B, N, D')
        return 1 - nn.functional.cosine_similarity(self.decoder(x), target, dim=-1)

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        images = batch["image"]
        found = self.quantised(images, clock)
        error = self.far(found, images).mean()
        numbers = {"error": error.detach(), "distance": found.distance}
        return {"loss": error + found.loss, **numbers}

    def after_step(self, clock: Clock) -> dict[str, Tensor]:
        """Moves the codes, for the step's `perplexity`; ends a training whose codebook dies."""
        return {"perplexity": perplexity(self.quantizer.after_step(clock)).float()}

    @torch.no_grad()
    def start(self, images: Tensor) -> None:
        """Begins the codes with k-means over the vectors of pictures (B, 3, S, S)."""
        parts = [self.encoder(x * SCALE + SHIFT).flatten(0, 1) for x in images.split(64)]
        self.quantizer.start(torch.cat(parts), self.params.codebook.rounds)

    def rebuilt(self, images: Tensor) -> None:
        """No pictures: features are rebuilt."""
        return

    def feature_error(self, images: Tensor, clock: Clock) -> Tensor:
        """Mean over patches: 1 minus the cosine."""
        return self.far(self.quantised(images, clock), images).mean()

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """The input, its codes, and how far the rebuilt features are, 0 to 1."""
        found = self.quantised(batch["image"], clock)
        patch = self.params.patch_size
        far = self.far(found, batch["image"]).unflatten(1, self.grid)[:, None]
        far = far.repeat_interleave(patch, 2).repeat_interleave(patch, 3).expand(-1, 3, -1, -1)
        words = coloured(found.codes, self.grid, patch)
        return {"input": batch["image"], "words": words, "far": far}

    def frozen(self, card: dict[str, Any]) -> Frozen:
        """What is kept: the encoder and the codebook."""
        params = self.params
        sizes = {"width": params.width, "depth": params.depth, "heads": params.heads}
        net = {"kind": "patches", "size": params.img_size, "patch": params.patch_size, **sizes}
        book = self.quantizer.code_vectors().detach()
        own = {"net": {**net, "channels": 3, "out": book.shape[1]}, "codes": len(book)}
        return Frozen(self.encoder, book, {**card, **own, "scale": SCALE, "shift": SHIFT})


def views(params: VQKD) -> Views:
    """One view of each image."""
    return one_view(params.augment, params.img_size)


def build(params: VQKD) -> VQKDTokenizer:
    """The tokenizer, to be trained. Raises ValueError where the teacher has another grid or takes
    pictures of another size.
    """
    side, patch, book = params.img_size, params.patch_size, params.codebook
    teacher = load_network(Path(params.needs), side)
    found = teacher.tokens(torch.zeros(1, 3, side, side)).shape
    if found[1] != (side // patch) ** 2:
        raise ValueError(
            f"{params.needs}: {found[1]} patch tokens of {side} pixels, but patch_size {patch}"
            f" makes {(side // patch) ** 2}"
        )
    sizes = (params.width, params.depth, params.heads)
    encoder = PatchNet(side, patch, *sizes, 3, book.dim)
    depth = (params.width, params.decoder, params.heads)
    decoder = PatchNet(side // patch, 1, *depth, book.dim, found[2])
    usage = Usage(book.codes, params.least_perplexity, params.grace)
    how = (book.decay, book.commitment, book.revive)
    quantizer = Quantizer(book.codes, book.dim, *how, usage, params.seed)
    return VQKDTokenizer(params, encoder, quantizer, decoder, teacher)
