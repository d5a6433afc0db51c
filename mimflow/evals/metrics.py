"""The metrics of a task for one encoder or control: every pooling of every draw, and the best.

A task predicts; here its predictions become numbers. Its settings (k-NN's grid, few-shot's label
counts) are *variants*; one, named by the protocol, is the headline. `best` is the headline's best
pooling and draw, chosen on the held-out images, for a run and for the control alike: a run with one
draw and two poolings is read against the best of six. Which images the best got right is kept
beside the metrics, for paired statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mimflow.evals.items import write_items
from mimflow.evals.statistics import student
from mimflow.evals.stored import Draw
from mimflow.files import canonical, write

# (train (n, ...), its labels 0..C-1 (n,), held (m, ...)) -> variant -> predicted labels (m,), or
# (R, m) where the variant was tried R times.
Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]


class Right(NamedTuple):
    """Of one pooling of one draw: variant -> bool (R, m), whether each held-out image was right."""

    draw: int
    pool: str
    variants: dict[str, np.ndarray]

    def accuracy(self, variant: str) -> float:
        """In percent."""
        return 100 * float(self.variants[variant].mean())


def write_metrics(
    draws: Iterable[Draw],
    labels: dict[str, np.ndarray],
    out: Path,
    predict: Predict,
    headline: str,
    grid: bool,
) -> None:
    """Writes {best, pool, draws, <pool>...}, accuracies in percent, to `out`, and the images that
    were right beside it; {labels: 0} for a data set without labels.

    With several variants each has its value, the best of poolings and draws; with a `grid` also
    `best_of_grid`, chosen on the held-out images. `<variant>_pm`: half the 95 % interval of its
    mean over repetitions (Student's t). `unseen`: held-out images whose class no training image
    has; they count as wrong.
    """
    known = {split: y >= 0 for split, y in labels.items()}
    if not all(k.any() for k in known.values()):
        write(out, canonical({"labels": 0}))
        write_items(out, np.zeros((1, 0), bool), np.zeros(0, np.int32))
        return
    classes, train = np.unique(labels["train"][known["train"]], return_inverse=True)
    truth = labels["held"][known["held"]]
    table = []
    for number, draw in enumerate(draws):
        for pool, splits in sorted(draw.items()):
            kept = {s: x if known[s].all() else x[known[s]] for s, x in splits.items()}
            found = predict(kept["train"], train, kept["held"])
            right = {v: classes[np.atleast_2d(p)] == truth for v, p in found.items()}
            table.append(Right(number, pool, right))
    unseen = int((~np.isin(truth, classes)).sum())
    result = summarise(table, headline, grid) | ({"unseen": unseen} if unseen else {})
    write(
        out, canonical({k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()})
    )
    write_items(out, best_of(table, headline).variants[headline], truth)


def best_of(table: list[Right], variant: str) -> Right:
    """The pooling and draw that got the most images right."""
    return max(table, key=lambda row: (row.accuracy(variant), row.pool, -row.draw))


def summarise(table: list[Right], headline: str, grid: bool) -> dict[str, Any]:
    """The content of the metrics file."""
    top = best_of(table, headline)
    result: dict[str, Any] = {
        "best": top.accuracy(headline),
        "pool": top.pool,
        "draws": 1 + max(row.draw for row in table),
    }
    for pool in sorted({row.pool for row in table}):
        result[pool] = float(np.mean([r.accuracy(headline) for r in table if r.pool == pool]))
    variants = list(table[0].variants)
    if len(variants) > 1:
        result |= {v: best_of(table, v).accuracy(v) for v in variants}
    if grid:
        result["best_of_grid"] = max(row.accuracy(v) for row in table for v in variants)
    for v in variants:
        tried = 100 * best_of(table, v).variants[v].mean(1)
        if len(tried) > 1:
            result[f"{v}_pm"] = student(tried).half
    return result
