"""dVAE: the tokenizer of BEiT (arXiv 2106.08254), as DALL-E has it (Ramesh et al., arXiv
2102.12092): a relaxed choice at a falling temperature, the likelihood of the pixels, and a
divergence that keeps the codes in use.
"""

from __future__ import annotations

from torch import Tensor

from mimflow.data.augment import Views, one_view
from mimflow.params.tokenizers import DVAE
from mimflow.tokenizers.autoencoder import GumbelAutoencoder
from mimflow.train.clock import Clock


class LaplaceDVAE(GumbelAutoencoder):
    """Pixels mapped to 0.8 x + 0.1; the decoder gives place and width of a logit-Laplace each."""

    def __init__(self, params: DVAE):
        super().__init__(params, 6, 0.8, 0.1)

    def cost(self, out: Tensor, x: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        place, spread = out.chunk(2, dim=1)
        spread = spread.clamp(-7, 7)  # log of the width: e^7 is beyond any picture
        inside = (x * (1 - x)).log()
        far = (x.logit() - place).abs() * (-spread).exp()
        error = (far + spread + inside + 0.6931).mean()  # the negative log-likelihood
        return error, {"error": error}

    def picture(self, out: Tensor) -> Tensor:
        return out[:, :3].sigmoid()


class SquaredDVAE(GumbelAutoencoder):
    """Pixels in [-1, 1] and their square error."""

    def __init__(self, params: DVAE):
        super().__init__(params, 3, 2.0, -1.0)

    def cost(self, out: Tensor, x: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        error = (out - x).square().mean()
        return error, {"error": error}


def views(params: DVAE) -> Views:
    """One view of each image."""
    return one_view(params.augment, params.img_size)


def build(params: DVAE) -> GumbelAutoencoder:
    """The tokenizer, to be trained."""
    return {"laplace": LaplaceDVAE, "squared": SquaredDVAE}[params.likelihood](params)
