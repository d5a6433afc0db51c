"""Features drawn around one centre for each class."""

from __future__ import annotations

import numpy as np


def blobs(
    spread: float, count: int = 400, classes: int = 5, width: int = 8, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """train (n, D), its labels (n,), held (n, D), its labels (n,)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width))
    parts = []
    for _ in range(2):
        label = rng.integers(0, classes, count).astype(np.int32)
        label[:classes] = np.arange(classes)  # every class is there
        x = centres[label] + spread * rng.normal(size=(count, width))
        parts += [x.astype(np.float32), label]
    return parts[0], parts[1], parts[2], parts[3]
