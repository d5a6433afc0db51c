"""What a run's number is read against: the same encoder with random weights, and raw pixels."""

from __future__ import annotations

import numpy as np
import torch

from mimflow.draw import fold
from mimflow.encoder import build_encoder, described, device
from mimflow.evals.features import Images, extract
from mimflow.params.sections import Features, PixelControl, RandomControl


def random_features(
    images: Images, control: RandomControl, number: int, how: Features
) -> dict[str, np.ndarray]:
    """The poolings (n, D) of draw `number` of the encoder's initial weights."""
    torch.manual_seed(fold("random", control.seed, number) & 0x7FFFFFFF)
    encoder = build_encoder(described(control.encoder)).eval().to(device())
    return extract(encoder, images, images.shards.mean, images.shards.std, how)


def pixel_features(images: Images, control: PixelControl, how: Features) -> dict[str, np.ndarray]:
    """`pixels` float32 (n, S * S * C) in [0, 1]."""
    rows = [x.reshape(len(x), -1) for x in images.batches(control.img_size, how.batch)]
    return {"pixels": np.concatenate(rows).astype(np.float32) / 255}
