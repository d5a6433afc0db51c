"""What a run's number is read against: the same encoder with random weights, and raw pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mimflow.draw import fold
from mimflow.encoder import build_encoder, build_timm, described
from mimflow.evals.features import Images
from mimflow.params.sections import PixelControl, RandomControl, TimmControl


def random_encoder(control: RandomControl | TimmControl, number: int) -> nn.Module:
    """Draw `number` of the encoder's initial weights: ours for a run's encoder, timm's for a timm
    model.
    """
    torch.manual_seed(fold("random", control.seed, number) & 0x7FFFFFFF)
    if isinstance(control, TimmControl):
        return build_timm(control.timm.name, control.timm.kwargs).eval()
    return build_encoder(described(control.encoder)).eval()


def pixel_features(images: Images, control: PixelControl, batch: int) -> dict[str, np.ndarray]:
    """`pixels` float32 (n, S * S * C) in [0, 1]."""
    rows = [x.reshape(len(x), -1) for x in images.batches(control.img_size, batch)]
    return {"pixels": np.concatenate(rows).astype(np.float32) / 255}
