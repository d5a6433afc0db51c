"""Evaluations: equal to a reference, perfect where they must be, chance where they can not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.neighbors import KNeighborsClassifier

from mimflow.evals.features import choose
from mimflow.evals.knn import knn_accuracy
from mimflow.evals.linear import linear_accuracy
from mimflow.evals.metrics import write_metrics
from mimflow.evals.standardise import standardise
from mimflow.params.sections import Knn, Linear

RNG = np.random.default_rng(0)
KNN = Knn(k=7, temperature=0.07, standardise=False, threads=1)
LINEAR = Linear(c=1.0, max_iter=200, threads=1)


def blobs(
    spread: float, count: int = 400, classes: int = 5, width: int = 8
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Features around one centre for each class, and labels."""
    centres = RNG.normal(size=(classes, width))
    labels = {s: RNG.integers(0, classes, count).astype(np.int32) for s in ("train", "held")}
    features = {
        s: (centres[y] + spread * RNG.normal(size=(count, width))).astype(np.float32)
        for s, y in labels.items()
    }
    return features, labels


def test_nearest_neighbours_equal_scikit_learns() -> None:
    features, labels = blobs(1.0)
    unit = {s: x / np.linalg.norm(x, axis=1, keepdims=True) for s, x in features.items()}

    def weights(distance: np.ndarray) -> np.ndarray:
        return np.exp(
            (1 - distance**2 / 2) / KNN.temperature
        )  # cosine from the distance of unit vectors

    theirs = KNeighborsClassifier(n_neighbors=7, weights=weights, algorithm="brute").fit(
        unit["train"], labels["train"]
    )
    expected = 100 * (theirs.predict(unit["held"]) == labels["held"]).mean()
    assert 30 < expected < 90
    assert knn_accuracy(features, labels, KNN) == pytest.approx(expected, abs=1e-9)


def test_separable_features_are_classified_perfectly() -> None:
    features, labels = blobs(0.01)
    assert knn_accuracy(features, labels, KNN) == 100
    assert linear_accuracy(features, labels, LINEAR) == 100


def test_shuffled_labels_give_chance() -> None:
    features, labels = blobs(0.01, count=2000)
    shuffled = {s: RNG.permutation(y) for s, y in labels.items()}
    for accuracy in (
        knn_accuracy(features, shuffled, KNN),
        linear_accuracy(features, shuffled, LINEAR),
    ):
        assert accuracy == pytest.approx(
            20, abs=4
        )  # chance of five classes, over four standard errors


def test_standardised_by_the_training_images_alone() -> None:
    features, _ = blobs(1.0)
    features["train"][:, 3] = 2.5
    train, held = standardise(features["train"], features["held"])
    np.testing.assert_allclose(np.delete(train, 3, 1).mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(np.delete(train, 3, 1).std(0), 1, atol=1e-6)
    assert (train[:, 3] == 0).all() and (held[:, 3] == 0).all()
    alone, _ = standardise(features["train"], features["held"] * 100)
    assert np.array_equal(alone, train)


def write_features(
    path: Path, labels: dict[str, np.ndarray], draws: list[dict[str, float]]
) -> None:
    """Draws whose pooling `p` has the label as its first feature in the given share of the rows."""
    arrays = {f"{s}/label": y for s, y in labels.items()}
    for number, pools in enumerate(draws):
        for pool, share in pools.items():
            for s, y in labels.items():
                right = np.arange(len(y)) < share * len(y)
                arrays[f"{number}/{s}/{pool}"] = np.where(right, y, (y + 1) % 3).astype(np.float32)[
                    :, None
                ]
    save_file(arrays, path)


def test_the_best_pooling_of_the_best_draw_counts(tmp_path: Path) -> None:
    labels = {s: np.arange(10, dtype=np.int32) % 3 for s in ("train", "held")}
    write_features(tmp_path / "f", labels, [{"cls": 0.5, "mean": 0.2}, {"cls": 0.1, "mean": 0.8}])

    def share(features: dict[str, np.ndarray], known: dict[str, np.ndarray]) -> float:
        return 100 * float((features["held"][:, 0] == known["held"]).mean())

    write_metrics(tmp_path / "f", tmp_path / "m.json", share)
    assert json.loads((tmp_path / "m.json").read_text()) == {
        "best": 80.0,
        "pool": "mean",
        "draws": 2,
        "cls": 30.0,
        "mean": 50.0,
    }


def test_images_without_labels_are_left_out_and_none_at_all_is_said(tmp_path: Path) -> None:
    labels = {s: np.array([0, 1, 2, -1, -1, -1], np.int32) for s in ("train", "held")}
    write_features(tmp_path / "f", labels, [{"mean": 1.0}])
    seen: list[int] = []

    def score(features: dict[str, np.ndarray], known: dict[str, np.ndarray]) -> float:
        seen.append(len(features["held"]))
        assert (known["train"] >= 0).all()
        return 1.0

    write_metrics(tmp_path / "f", tmp_path / "m.json", score)
    assert seen == [3]
    write_features(tmp_path / "g", {s: y * 0 - 1 for s, y in labels.items()}, [{"mean": 1.0}])
    write_metrics(tmp_path / "g", tmp_path / "n.json", score)
    assert json.loads((tmp_path / "n.json").read_text()) == {"labels": 0} and seen == [3]


def test_the_training_images_are_a_fixed_choice_and_the_larger_holds_the_smaller() -> None:
    few, many = choose(1000, 50), choose(1000, 500)
    assert len(few) == 50 and set(few) < set(many) and (np.diff(few) > 0).all()
    assert np.array_equal(choose(1000, 5000), np.arange(1000))


@pytest.mark.parametrize("parts", [["knn", "metrics"], ["linear", "metrics"]])
def test_an_evaluation_of_stored_features_starts_without_the_model_library(
    parts: list[str],
) -> None:
    modules = ", ".join(f"mimflow.evals.{p}" for p in parts)
    code = f"import sys, {modules}; print('timm' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
