"""Linear probe: logistic regression on frozen, standardised features (scikit-learn)."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from mimflow.evals.standardise import standardise


def predict(
    train: np.ndarray, labels: np.ndarray, held: np.ndarray, c: float, max_iter: int
) -> np.ndarray:
    """The label of each held-out image, int (m,); with one class alone it is that class."""
    if (labels == labels[0]).all():
        return np.full(len(held), labels[0])
    train, held = standardise(train, held)
    probe = LogisticRegression(C=c, max_iter=max_iter)
    with warnings.catch_warnings():  # max_iter is a budget, the same for every encoder
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train, labels)
    return np.asarray(probe.predict(held))
