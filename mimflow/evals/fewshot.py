"""Few-shot: logistic regression on a few labelled images, drawn several times.

A draw is a random order of the training images; n-shot takes the first n of each class in it, a
share the first of each class in that proportion, one at least. So the settings of a draw are
nested, and the draws are the same for every encoder.
"""

from __future__ import annotations

import numpy as np

from mimflow.draw import Draw
from mimflow.evals import linear
from mimflow.params.tasks.fewshot import Fewshot


def labelled(labels: np.ndarray, amount: int | float, seed: int, draw: int) -> np.ndarray:
    """Ascending int64: the labelled images of a setting, `amount` of each class (int; all where
    there are fewer) or that share of it (float).
    """
    order = Draw(np.arange(len(labels)), "fewshot", seed, draw).uniform("order", 1)[:, 0]
    chosen = []
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        of_class = of_class[order[of_class].argsort(kind="stable")]
        share = max(1, round(amount * len(of_class)))
        chosen.append(of_class[: amount if isinstance(amount, int) else share])
    return np.sort(np.concatenate(chosen))


def predict(
    train: np.ndarray, labels: np.ndarray, held: np.ndarray, how: Fewshot
) -> dict[str, np.ndarray]:
    """Setting -> predicted labels int (draws, m)."""
    found = {}
    for name, amount in how.settings().items():
        chosen = [labelled(labels, amount, how.seed, draw) for draw in range(how.draws)]
        rows = [linear.predict(train[c], labels[c], held, how.c, how.max_iter) for c in chosen]
        found[name] = np.stack(rows)
    return found
