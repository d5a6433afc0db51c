"""The keys of a run of MAE."""

from __future__ import annotations

from mimflow.params.fields import Decoder, PlainViT, Ratio
from mimflow.params.training import Training


class MAEParams(Training):
    """`mask_ratio`: share of hidden patches (published: 0.75); `norm_pixels`: per-patch
    standardised target.
    """

    encoder: PlainViT
    mask_ratio: Ratio
    norm_pixels: bool
    decoder: Decoder
