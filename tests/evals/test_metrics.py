"""Predictions become numbers: the best is said to be the best, and odd labels are handled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimflow.data.chosen import choose
from mimflow.evals.items import items_file, read_items
from mimflow.evals.metrics import write_metrics
from mimflow.evals.standardise import standardise

LABELS = {s: np.arange(10, dtype=np.int32) % 3 for s in ("train", "held")}


def first_feature(train: np.ndarray, labels: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    """Predicts the first feature."""
    return {"probe": held[:, 0].astype(int)}


def told(labels: dict[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Features (n, 1) that are the label in the given share of the rows."""
    return {
        s: np.where(np.arange(len(y)) < share * len(y), y, (y + 1) % 3)[:, None].astype(np.float32)
        for s, y in labels.items()
    }


def write(
    folder: Path, draws: list[Any], labels: dict[str, np.ndarray], predict: Any = first_feature
) -> dict[str, Any]:
    write_metrics(draws, labels, folder / "m.json", predict, "probe", grid=False)
    found: dict[str, Any] = json.loads((folder / "m.json").read_bytes())
    return found


def test_the_best_pooling_of_the_best_draw_counts(tmp_path: Path) -> None:
    draws = [
        {"cls": told(LABELS, 0.5), "mean": told(LABELS, 0.2)},
        {"cls": told(LABELS, 0.1), "mean": told(LABELS, 0.8)},
    ]
    assert write(tmp_path, draws, LABELS) == {
        "best": 80.0,
        "pool": "mean",
        "draws": 2,
        "cls": 30.0,
        "mean": 50.0,
    }
    [right] = read_items([tmp_path / "m.json"])
    assert right.tolist() == [100.0] * 8 + [0.0] * 2


def test_a_grid_shows_every_point_and_says_which_is_chosen_on_the_test_images(
    tmp_path: Path,
) -> None:
    def predict(train: np.ndarray, labels: np.ndarray, held: np.ndarray) -> dict[str, Any]:
        return {"a": held[:, 0].astype(int), "b": LABELS["held"]}

    write_metrics([{"mean": told(LABELS, 0.5)}], LABELS, tmp_path / "m.json", predict, "a", True)
    found = json.loads((tmp_path / "m.json").read_bytes())
    assert found["best"] == found["a"] == 50 and found["b"] == found["best_of_grid"] == 100
    [right] = read_items([tmp_path / "m.json"])
    assert right.mean() == 50  # the items are the headline's


def test_repetitions_have_a_mean_and_an_interval(tmp_path: Path) -> None:
    def predict(train: np.ndarray, labels: np.ndarray, held: np.ndarray) -> dict[str, Any]:
        y = LABELS["held"]
        return {"probe": np.stack([y, y, np.where(np.arange(10) < 7, y, 2 - y)])}

    found = write(tmp_path, [{"mean": told(LABELS, 1)}], LABELS, predict)
    shares = np.array([100, 100, found["best"] * 3 - 200])
    half = 4.302653 * shares.std(ddof=1) / 3**0.5  # Student's t, two degrees of freedom
    assert found["probe_pm"] == pytest.approx(half, abs=1e-3)
    [right] = read_items([tmp_path / "m.json"])
    assert right.mean() == pytest.approx(found["best"], abs=1e-4)
    assert set(right.round(2)) == {100.0, 66.67}


def test_images_without_labels_are_left_out(tmp_path: Path) -> None:
    labels = {s: np.array([0, -1, 1, 2, -1, -1], np.int32) for s in ("train", "held")}
    draw = {"mean": {s: y[:, None].astype(np.float32) for s, y in labels.items()}}

    def predict(train: np.ndarray, known: np.ndarray, held: np.ndarray) -> dict[str, Any]:
        assert train[:, 0].tolist() == held[:, 0].tolist() == known.tolist() == [0, 1, 2]
        return first_feature(train, known, held)

    assert write(tmp_path, [draw], labels, predict)["best"] == 100


@pytest.mark.parametrize("split", ["train", "held"])
def test_no_label_at_all_is_said_and_nothing_is_predicted(tmp_path: Path, split: str) -> None:
    labels = LABELS | {split: LABELS[split] * 0 - 1}
    assert write(tmp_path, [], labels) == {"labels": 0}
    assert items_file(tmp_path / "m.json").exists()  # a declared output


def test_a_class_that_only_the_test_images_have_counts_as_wrong_and_is_counted(
    tmp_path: Path,
) -> None:
    labels = {"train": np.array([5, 7, 5], np.int32), "held": np.array([5, 6, 7, 9], np.int32)}

    def predict(train: np.ndarray, known: np.ndarray, held: np.ndarray) -> dict[str, Any]:
        assert known.tolist() == [0, 1, 0]  # without gaps, whatever the labels are called
        return {"probe": np.array([0, 0, 1, 1])}

    draw = {"mean": {s: np.zeros((len(y), 1), np.float32) for s, y in labels.items()}}
    assert write(tmp_path, [draw], labels, predict) == {
        "best": 50.0,
        "pool": "mean",
        "draws": 1,
        "mean": 50.0,
        "unseen": 2,
    }


def test_items_of_other_test_images_are_not_compared(tmp_path: Path) -> None:
    for name, order in (("a", 1), ("b", -1)):
        labels = {s: y[::order] for s, y in LABELS.items()}
        draw = {"mean": told(labels, 1)}
        write_metrics([draw], labels, tmp_path / f"{name}.json", first_feature, "probe", False)
    with pytest.raises(
        ValueError, match=r"b\.items\.safetensors: other test images than .*a\.items"
    ):
        read_items([tmp_path / "a.json", tmp_path / "b.json"])


def test_standardised_by_the_training_images_alone() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.normal(1, 3, (400, 8)).astype(np.float32) for _ in range(2))
    first[:, 3] = 2.5
    train, held = standardise(first, second)
    np.testing.assert_allclose(np.delete(train, 3, 1).mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(np.delete(train, 3, 1).std(0), 1, atol=1e-6)
    assert (train[:, 3] == 0).all() and (held[:, 3] == 0).all()
    alone, _ = standardise(first, second * 100)
    assert np.array_equal(alone, train)


def test_the_training_images_are_a_fixed_choice_and_the_larger_holds_the_smaller() -> None:
    few, many = choose(1000, 50), choose(1000, 500)
    assert len(few) == 50 and set(few) < set(many) and (np.diff(few) > 0).all()
    assert np.array_equal(choose(1000, 5000), np.arange(1000))


@pytest.mark.parametrize("task", ["knn", "linear", "linear_sgd", "fewshot", "diagnostics"])
def test_an_evaluation_of_stored_features_starts_without_the_model_library(task: str) -> None:
    code = (
        f"import sys, stages.{task}, mimflow.evals.{task}, mimflow.evals.metrics;"
        " print('timm' in sys.modules, 'matplotlib' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
