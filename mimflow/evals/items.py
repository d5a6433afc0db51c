"""Which held-out images an encoder got right: what paired statistics need, a byte an image.

The file lies beside the metrics: `right` uint8 (m,), how often each image was right, and a card
{tries, items}: of how many tries, and which images these are.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from mimflow.files import replacing


def items_file(metrics: Path) -> Path:
    """Its place beside a metrics file."""
    return metrics.with_name(f"{metrics.stem}.items.safetensors")


def write_items(metrics: Path, right: np.ndarray, truth: np.ndarray) -> None:
    """Keeps bool (R, m), R tries at m images with the labels `truth` (m,)."""
    same = hashlib.sha256(truth.astype("<i4").tobytes()).hexdigest()[:16]
    card = {"tries": len(right), "items": f"{len(truth)}-{same}"}
    with replacing(items_file(metrics)) as file:
        counts = {"right": right.sum(0).astype(np.uint8)}
        save_file(counts, file, {"card": json.dumps(card, sort_keys=True)})


def read_items(metrics: list[Path]) -> list[np.ndarray]:
    """For each metrics file float64 (m,), in percent. Raises ValueError if they are not of the same
    images.
    """
    found, first = [], ""
    for path in map(items_file, metrics):
        with safe_open(path, "np") as file:
            card = json.loads(file.metadata()["card"])
            found.append(100 * file.get_tensor("right").astype(np.float64) / card["tries"])
        if card["items"] != (first or card["items"]):
            raise ValueError(f"{path}: other test images than {items_file(metrics[0])}")
        first = card["items"]
    return found
