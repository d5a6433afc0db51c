"""Which training images have their labels used: the same ones for every encoder and task."""

from __future__ import annotations

import numpy as np

from mimflow.draw import Draw


def choose(count: int, labels: int) -> np.ndarray:
    """Sorted int64 (min(count, labels),), a fixed choice; a larger one holds the smaller."""
    order = Draw(np.arange(count), "labelled").uniform("order", 1)[:, 0].argsort(kind="stable")
    return np.sort(order[:labels])
