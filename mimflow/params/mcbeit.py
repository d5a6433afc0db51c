"""The keys of a run of mc-BEiT."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimflow.params.fields import Fraction, Positive, Section
from mimflow.params.rendering import OnTokenizer


class Ramp(Section):
    """A temperature: `epochs` values evenly from `start` to `end`, one each, then `end`."""

    start: Positive
    end: Positive
    epochs: Annotated[int, Field(ge=1)]


class MCBEiTParams(OnTokenizer):
    """`temperature` of the tokenizer's logits
    (published: 4.0, tied to its VQGAN's scale); `mix`: share of the targets of similar patches
    (published: 0.2); `affinity`: temperature of the similarities (published: 1.0). `detach`: no
    gradient passes through the targets (published: false).
    """

    temperature: Ramp
    mix: Fraction
    affinity: Positive
    detach: bool
