"""Every task on odd data: labels missing, a class of test images alone, one image, one class."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimflow.evals import attentive, fewshot, knn, linear, linear_sgd
from mimflow.evals.items import read_items
from mimflow.evals.metrics import write_metrics
from mimflow.params.check import TASKS
from mimflow.params.read import read_yaml

TOY = read_yaml(Path(__file__).parents[2] / "presets/toy.yaml")
HOW: dict[str, Any] = {task: TASKS[task].model_validate(TOY[task]) for task in TASKS}


def probe(train: np.ndarray, labels: np.ndarray, held: np.ndarray) -> dict[str, np.ndarray]:
    return {"probe": linear.predict(train, labels, held, 1.0, 100)}


def attend(train: np.ndarray, labels: np.ndarray, held: np.ndarray) -> dict[str, np.ndarray]:
    """Each feature vector as three equal tokens."""
    tokens = (np.repeat(x[:, None], 3, 1) for x in (train, held))
    return attentive.predict(next(tokens), labels, next(tokens), HOW["attentive"])


PREDICT: dict[str, tuple[Any, str]] = {
    "knn": (partial(knn.predict, how=HOW["knn"]), "k50_t0.2"),
    "linear": (probe, "probe"),
    "linear_sgd": (partial(linear_sgd.predict, how=HOW["linear_sgd"]), "lr0.1"),
    "attentive": (attend, "probe"),
    "fewshot": (partial(fewshot.predict, how=HOW["fewshot"]), "shot5"),
}
DATA: dict[str, tuple[list[int], list[int]]] = {  # labels of the training and of the test images
    "labels missing for some": ([0, -1, 1, 0, -1, 1], [-1, 0, 1, -1]),
    "a class that only the test images have": ([0, 0, 1, 1], [0, 1, 2]),
    "labels with gaps": ([3, 3, 900, 900], [3, 900]),
    "one image": ([4], [4]),
    "one class": ([2, 2, 2], [2, 2]),
    "one labelled image": ([-1, 5, -1], [5, 5, -1]),
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("task", PREDICT)
def test_odd_data_have_a_number_and_an_item_for_each_labelled_test_image(
    task: str, data: str, tmp_path: Path
) -> None:
    predict, headline = PREDICT[task]
    labels = dict(zip(("train", "held"), map(np.array, DATA[data]), strict=True))
    rng = np.random.default_rng(0)
    draw = {s: (rng.normal(size=(len(y), 4)) + y[:, None]).astype("f4") for s, y in labels.items()}
    write_metrics([{"mean": draw}], labels, tmp_path / "m.json", predict, headline, grid=False)
    found = json.loads((tmp_path / "m.json").read_bytes())
    [right] = read_items([tmp_path / "m.json"])
    assert len(right) == (labels["held"] >= 0).sum()
    assert 0 <= found["best"] <= 100 and found["best"] == pytest.approx(right.mean(), abs=1e-4)
    if data.startswith("one"):
        assert found["best"] == 100
    assert found.get("unseen") == (1 if data.startswith("a class") else None)
    if "unseen" in found:
        assert right[2] == 0
