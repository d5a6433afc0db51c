"""The metrics of a task for one feature file: every pooling of every draw, and the best of them.

The best is chosen on the held-out images, for a run and for the control alike: a run with one draw
and two poolings is read against the best of six.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mimflow.evals.stored import read_features
from mimflow.files import canonical, write

Score = Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], float]


def write_metrics(features: Path, out: Path, score: Score) -> None:
    """Writes {best, pool, <pool>, draws}, accuracies in percent; {labels: 0} for a data set without
    labels.
    """
    draws, labels = read_features(features)
    known = {split: y >= 0 for split, y in labels.items()}
    if not all(k.any() for k in known.values()):
        write(out, canonical({"labels": 0}))
        return
    kept = {split: labels[split][k] for split, k in known.items()}
    table = [
        {
            pool: score({s: x[known[s]] for s, x in splits.items()}, kept)
            for pool, splits in draw.items()
        }
        for draw in draws
    ]
    best, pool = max((value, pool) for row in table for pool, value in sorted(row.items()))
    means = {p: float(np.mean([row[p] for row in table])) for p in table[0]}
    result: dict[str, Any] = {"best": best, "pool": pool, "draws": len(table), **means}
    write(
        out, canonical({k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()})
    )
