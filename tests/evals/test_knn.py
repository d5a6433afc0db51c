"""k-NN equals scikit-learn's on the same features and weights, at every point of the grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn import blobs
from sklearn.neighbors import KNeighborsClassifier

from mimflow.evals import knn
from mimflow.params.tasks.knn import Knn, KnnGrid

HOW = Knn(
    k=7,
    temperature=0.07,
    grid=KnnGrid(k=[1, 7, 30], temperature=[0.07, 0.5]),
    standardise=False,
    threads=1,
)


@pytest.mark.parametrize("bank", [50_000, 64])
def test_every_point_of_the_grid_equals_scikit_learns(
    bank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knn, "BANK", bank)
    monkeypatch.setattr(knn, "ROWS", 90)
    train, labels, held, truth = blobs(1.0)
    found = knn.predict(train, labels, held, HOW)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, held)]
    assert len(found) == 6
    for k in HOW.grid.k:
        for temperature in HOW.grid.temperature:

            def weights(distance: np.ndarray, temperature: float = temperature) -> np.ndarray:
                cosine = 1 - distance**2 / 2  # of unit vectors
                return np.exp(cosine / temperature)

            theirs = KNeighborsClassifier(n_neighbors=k, weights=weights, algorithm="brute")
            expected = theirs.fit(unit[0], labels).predict(unit[1])
            assert np.array_equal(found[knn.variant(k, temperature)], expected)
            assert 0.3 < (expected == truth).mean() < 0.95


def test_the_neighbours_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, bank = torch.randn(20, 6), torch.randn(333, 6)
    expected = (rows @ bank.T).topk(40, dim=1)
    monkeypatch.setattr(knn, "BANK", 17)
    similarity, place = knn.neighbours(rows, bank, 40)
    assert torch.equal(place, expected.indices)
    torch.testing.assert_close(similarity, expected.values)


def test_separable_features_are_classified_perfectly() -> None:
    train, labels, held, truth = blobs(0.01)
    assert all((p == truth).all() for p in knn.predict(train, labels, held, HOW).values())


def test_a_tiny_temperature_asks_the_nearest_alone() -> None:
    train, labels, held, _ = blobs(1.0)
    grid = KnnGrid(k=[1, 30], temperature=[1e-4])
    found = knn.predict(train, labels, held, HOW.model_copy(update={"grid": grid}))
    assert np.array_equal(found["k30_t0.0001"], found["k1_t0.0001"])
    assert len(np.unique(found["k1_t0.0001"])) > 1


def test_shuffled_labels_give_chance() -> None:
    train, labels, held, truth = blobs(0.01, count=2000)
    shuffled = np.random.default_rng(1).permutation(labels)
    for found in knn.predict(train, shuffled, held, HOW).values():
        assert (found == truth).mean() == pytest.approx(0.2, abs=0.04)


def test_fewer_images_than_neighbours_means_all_of_them() -> None:
    train, labels, held, _ = blobs(1.0, count=12)
    few = HOW.model_copy(update={"grid": KnnGrid(k=[12], temperature=[0.07])})
    many = HOW.model_copy(update={"grid": KnnGrid(k=[500], temperature=[0.07])})
    [expected], [found] = (knn.predict(train, labels, held, h).values() for h in (few, many))
    assert np.array_equal(found, expected)


def test_a_single_image_gives_its_label() -> None:
    one, held = np.ones((1, 4), np.float32), np.ones((3, 4), np.float32)
    found = knn.predict(one, np.zeros(1, int), held, HOW)
    assert all((p == 0).all() and len(p) == 3 for p in found.values())


def test_the_headline_stands_in_the_grid() -> None:
    with pytest.raises(ValueError, match=r"k 5 is not in grid.k \[1, 7, 30\]"):
        Knn.model_validate({**HOW.model_dump(), "k": 5})
