"""The keys of how the colours of crops change (`mimflow/data/colour.py`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimflow.params.fields import Fraction, Section

Shares = Annotated[list[Fraction], Field(min_length=3, max_length=3)]


class Colour(Section):
    """`jitter`: by how much brightness, contrast and saturation change, and the hue in turns, in a
    share `jitter_share` of the crops; `grey`: a share without colour. `blur`, `solarise`: shares of
    the first global, the second global, and the local crops; `radius`: deviations of a blur, in
    pixels.
    """

    jitter: Annotated[list[Fraction], Field(min_length=4, max_length=4)]
    jitter_share: Fraction
    grey: Fraction
    blur: Shares
    radius: Annotated[list[Annotated[float, Field(gt=0, le=2)]], Field(min_length=2, max_length=2)]
    solarise: Shares
