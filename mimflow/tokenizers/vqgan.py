"""VQGAN with Gumbel codes: a discrete autoencoder whose pictures have to pass an adversary. It
keeps logits over the codes, which mc-BEiT needs.

Esser et al., "Taming Transformers for High-Resolution Image Synthesis", arXiv 2012.09841, in the
form with 8192 Gumbel codes at stride 8 that mc-BEiT uses (arXiv 2203.15371).
"""

from __future__ import annotations

from torch import Tensor

from mimflow.data.augment import Views, one_view
from mimflow.params.tokenizers import VQGAN
from mimflow.tokenizers.adversary import Opponent, pixel_error
from mimflow.tokenizers.autoencoder import GumbelAutoencoder
from mimflow.train.clock import Clock


class VQGANTokenizer(GumbelAutoencoder):
    """Pixels in [-1, 1]."""

    def __init__(self, params: VQGAN):
        super().__init__(params, 3, 2.0, -1.0)
        self.distance, self.opponent = params.distance, Opponent(params.adversary)

    def cost(self, out: Tensor, x: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        error = pixel_error(out, x, self.distance)
        term, own = self.opponent(x, out, clock)
        return error + term + own, {"error": error, "adversary": own}


def views(params: VQGAN) -> Views:
    """One view of each image."""
    return one_view(params.augment, params.img_size)


def build(params: VQGAN) -> VQGANTokenizer:
    """The tokenizer, to be trained."""
    return VQGANTokenizer(params)
