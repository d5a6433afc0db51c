"""Stored features, read: neither torch nor timm is needed.

A feature file holds `<draw>/<split>/<pool>` float32 (n, D) and `<split>/label` int32 (n,), -1 where
there is none. An encoder has one draw; the control with random weights several. Splits: train, and
held for the held-out one. `mimflow/evals/origin.py` says what the file's card tells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open

Draw = dict[str, dict[str, np.ndarray]]  # pool -> split -> (n, D)


def read_features(path: Path) -> tuple[list[Draw], dict[str, np.ndarray]]:
    """One dictionary pool -> split -> (n, D) for each draw, and split -> labels (n,)."""
    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    labels = {split: arrays.pop(f"{split}/label") for split in ("train", "held")}
    draws: list[Draw] = []
    for name, x in arrays.items():
        number, split, pool = name.split("/")
        draws += [{} for _ in range(int(number) + 1 - len(draws))]
        draws[int(number)].setdefault(pool, {})[split] = x
    return draws, labels


def read_labels(path: Path) -> dict[str, np.ndarray]:
    """Split -> labels (n,)."""
    with safe_open(path, "np") as file:
        return {split: file.get_tensor(f"{split}/label") for split in ("train", "held")}
