"""The logistic regression is perfect where it must be, and chance where it can not."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import blobs

from mimflow.evals import linear


def test_separable_features_are_classified_perfectly() -> None:
    train, labels, held, truth = blobs(0.01)
    assert (linear.predict(train, labels, held, 1.0, 200) == truth).all()


def test_shuffled_labels_give_chance() -> None:
    train, labels, held, truth = blobs(0.01, count=2000)
    shuffled = np.random.default_rng(1).permutation(labels)
    found = linear.predict(train, shuffled, held, 1.0, 200)
    assert (found == truth).mean() == pytest.approx(0.2, abs=0.04)  # over four standard errors


def test_one_class_alone_is_what_it_predicts() -> None:
    assert (linear.predict(np.ones((3, 2)), np.zeros(3, int), np.ones((5, 2)), 1.0, 9) == 0).all()
    assert (linear.predict(np.ones((1, 2)), np.zeros(1, int), np.ones((5, 2)), 1.0, 9) == 0).all()
