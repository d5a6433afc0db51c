"""The keys of a run of the student that learns from a teacher."""

from __future__ import annotations

from mimflow.params.fields import PlainViT, Ratio
from mimflow.params.training import Training


class StudentParams(Training):
    """`needs`: a teacher, or stored targets. `mask_ratio`: share of patches that are left out."""

    needs: str
    encoder: PlainViT
    mask_ratio: Ratio
