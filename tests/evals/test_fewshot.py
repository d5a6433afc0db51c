"""Few labels: so many of each class, nested, the same for every encoder."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import blobs

from mimflow.evals.fewshot import labelled, predict
from mimflow.params.tasks.fewshot import Fewshot

HOW = Fewshot(
    shots=[1, 5],
    shares=[0.01, 0.1],
    shown="shot5",
    draws=3,
    c=1.0,
    max_iter=100,
    seed=0,
    threads=1,
)
LABELS = np.repeat([0, 1, 2, 7], [50, 100, 3, 200])


def test_n_shot_takes_n_of_each_class_or_all_there_are() -> None:
    chosen = LABELS[labelled(LABELS, 5, 0, 0)]
    assert [(chosen == c).sum() for c in (0, 1, 2, 7)] == [5, 5, 3, 5]


def test_a_share_is_taken_of_each_class_one_at_least() -> None:
    chosen = LABELS[labelled(LABELS, 0.1, 0, 0)]
    assert [(chosen == c).sum() for c in (0, 1, 2, 7)] == [5, 10, 1, 20]


def test_the_larger_setting_holds_the_smaller_and_draws_differ() -> None:
    one, two, ten = (set(labelled(LABELS, n, 0, 0)) for n in (1, 2, 10))
    assert one < two < ten
    assert one != set(labelled(LABELS, 1, 0, 1)) and one != set(labelled(LABELS, 1, 1, 0))


def test_separable_classes_need_one_label_each() -> None:
    train, labels, held, truth = blobs(0.01)
    found = predict(train, labels, held, HOW)
    assert {name: p.shape for name, p in found.items()} == {
        name: (3, len(held)) for name in ("shot1", "shot5", "share1", "share10")
    }
    assert all((p == truth).all() for p in found.values())


def test_the_headline_is_one_of_the_settings() -> None:
    with pytest.raises(ValueError, match="shown 'shot3' is none of shot1, shot5, share1, share10"):
        Fewshot.model_validate({**HOW.model_dump(), "shown": "shot3"})
