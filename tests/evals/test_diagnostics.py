"""RankMe counts dimensions; uniformity is zero for a point and low for a sphere."""

from __future__ import annotations

import numpy as np
import pytest

from mimflow.data.chosen import choose
from mimflow.evals.diagnostics import measure, rankme, uniformity

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equal_singular_values_give_their_count(rank: int) -> None:
    basis, _ = np.linalg.qr(RNG.normal(size=(50, rank)))
    other, _ = np.linalg.qr(RNG.normal(size=(8, rank)))
    assert rankme(basis @ other.T) == pytest.approx(rank, rel=1e-4)  # epsilon of the formula


def test_rankme_is_the_formula_on_the_singular_values() -> None:
    for shape in ((40, 7), (7, 40)):
        x = RNG.normal(size=shape)
        share = np.linalg.svd(x, compute_uv=False)
        share = share / share.sum() + 1e-7
        assert rankme(x) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)


def test_one_image_and_no_signal_have_rank_one() -> None:
    assert rankme(RNG.normal(size=(1, 5))) == pytest.approx(1, abs=1e-4)
    assert rankme(np.zeros((4, 5))) == 1


def test_uniformity_is_the_mean_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimflow.evals.diagnostics.ROWS", 7)
    x = RNG.normal(size=(30, 4))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs = [np.exp(-2 * ((a - b) ** 2).sum()) for i, a in enumerate(unit) for b in unit[:i]]
    assert uniformity(x) == pytest.approx(np.log(np.mean(pairs)))
    assert uniformity(np.ones((5, 3))) == pytest.approx(0) and uniformity(x[:1]) == 0


def test_draws_are_averaged_and_labels_are_not_needed() -> None:
    draws = [{"mean": {"train": RNG.normal(size=(20, 4))}} for _ in range(2)]
    found, rows = measure(draws, 10), choose(20, 10)
    assert rows.max() > 10 and len(rows) == 10  # the first would be of few classes
    assert found["images"] == 10 and found["draws"] == 2
    expected = np.mean([rankme(d["mean"]["train"][rows]) for d in draws])
    assert found["rankme_mean"] == pytest.approx(expected, abs=1e-4)
