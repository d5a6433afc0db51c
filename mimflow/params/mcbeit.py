"""The keys of a run of mc-BEiT."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimflow.params.fields import BeitViT, Fraction, Positive, Ratio, Section
from mimflow.params.needs import TokenizerFile
from mimflow.params.rendering import Mask, Rendering
from mimflow.params.training import Training


class Ramp(Section):
    """A temperature: `epochs` values evenly from `start` to `end`, one each, then `end`."""

    start: Positive
    end: Positive
    epochs: Annotated[int, Field(ge=1)]


class MCBEiTParams(Training):
    """`needs`, `tokens`, `jitter`, `mask` as of BEiT. `temperature` of the tokenizer's logits
    (published: 4.0, tied to its VQGAN's scale); `mix`: share of the targets of similar patches
    (published: 0.2); `affinity`: temperature of the similarities (published: 1.0). `detach`: no
    gradient passes through the targets (published: false).
    """

    encoder: BeitViT
    needs: TokenizerFile
    tokens: Rendering
    jitter: Ratio
    mask: Mask
    temperature: Ramp
    mix: Fraction
    affinity: Positive
    detach: bool

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        patches = (self.encoder.img_size // self.encoder.patch_size) ** 2
        if self.mask.hidden > patches:
            raise ValueError(f"mask.hidden {self.mask.hidden} is more than {patches} patches")
