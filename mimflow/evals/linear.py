"""Linear probe: logistic regression on frozen, standardised features (scikit-learn)."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from mimflow.evals.standardise import standardise
from mimflow.params.sections import Linear


def linear_accuracy(
    features: dict[str, np.ndarray], labels: dict[str, np.ndarray], how: Linear
) -> float:
    """Percent of held-out images classified right, trained on `how.labels` training images of a
    fixed choice.
    """
    train, held = standardise(features["train"], features["held"])
    probe = LogisticRegression(C=how.c, max_iter=how.max_iter)
    with warnings.catch_warnings():  # max_iter is a budget, the same for every encoder
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train, labels["train"])
    return 100 * float((probe.predict(held) == labels["held"]).mean())
