"""Features to mean 0 and deviation 1, by the statistics of the training images."""

from __future__ import annotations

import numpy as np


def standardise(train: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both (n, D) arrays as float32; a constant feature becomes 0."""
    mean = train.mean(0, dtype=np.float64)
    std = train.std(0, dtype=np.float64)
    scale = np.where(std > 1e-9, 1 / np.maximum(std, 1e-9), 0)
    first, second = (((x - mean) * scale).astype(np.float32) for x in (train, held))
    return first, second
