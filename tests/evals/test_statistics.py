"""Intervals cover a known truth at their stated rate; a difference that is none is rarely found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mimflow.evals import statistics
from mimflow.evals.statistics import bootstrap, student, welch

TRIALS = 2000  # the share of covering intervals has a standard error of 0.5 %


def covered(rate: float, low: float, high: float) -> bool:
    return low <= rate <= high


def test_students_interval_over_three_seeds_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    found = [student(rng.normal(60, 2, 3)) for _ in range(TRIALS)]
    rate = np.mean([i.low <= 60 <= i.high for i in found])
    assert covered(rate, 0.935, 0.965)


def test_the_paired_bootstrap_over_test_items_covers_the_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    rng = np.random.default_rng(0)
    hard = rng.random((TRIALS, 500))  # both encoders fail on the same items
    first, second = (hard < p + 0.1 * rng.random((TRIALS, 500)) for p in (0.6, 0.5))
    found = [
        bootstrap(100.0 * a - 100.0 * b, seed=i)
        for i, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    rate = np.mean([i.low <= 10 <= i.high for i in found])
    assert covered(rate, 0.93, 0.965)
    unpaired = 1.96 * 100 * np.sqrt(2 * 0.25 / 500)
    assert np.mean([i.half for i in found]) < 0.7 * unpaired  # what the pairing is for


def test_welchs_interval_covers_the_truth_with_unequal_spreads_and_counts() -> None:
    rng = np.random.default_rng(0)
    found = [welch(rng.normal(62, 3, 3), rng.normal(60, 1, 5)) for _ in range(TRIALS)]
    rate = np.mean([i.low <= 2 <= i.high for i, _ in found])
    assert covered(rate, 0.93, 0.97)
    none = [welch(rng.normal(0, 1, 3), rng.normal(0, 1, 3))[1] for _ in range(TRIALS)]
    assert np.mean([p < 0.05 for p in none]) <= 0.06  # conservative with three seeds


def test_students_and_welchs_numbers_are_scipys() -> None:
    first, second = np.array([3.0, 4.5, 3.7]), np.array([2.0, 2.1, 2.6, 1.4])
    theirs = stats.t.interval(0.95, 2, loc=first.mean(), scale=stats.sem(first))
    assert student(first)[1:] == pytest.approx(theirs)
    expected = stats.ttest_ind(first, second, equal_var=False)
    found, p = welch(first, second)
    assert p == pytest.approx(expected.pvalue)
    assert found[1:] == pytest.approx(tuple(expected.confidence_interval()))


def test_resampling_counts_equals_resampling_items() -> None:
    values = 100.0 * (np.arange(200) % 3 == 0)
    rng = np.random.default_rng(0)
    means = rng.choice(values, (10_000, 200)).mean(1)
    expected = np.quantile(means, [0.025, 0.975])
    assert bootstrap(values)[1:] == pytest.approx(expected, abs=0.6)  # a step is 0.5
    assert bootstrap(values) == bootstrap(values)


def test_few_values_are_refused_or_have_no_width() -> None:
    with pytest.raises(ValueError, match="needs two values at least, not 1"):
        student(np.array([1.0]))
    with pytest.raises(ValueError, match="two seeds at least of each method"):
        welch(np.array([1.0]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="one item at least"):
        bootstrap(np.array([]))
    assert bootstrap(np.array([100.0])) == (100, 100, 100)
    assert welch(np.ones(2), np.ones(2)) == ((0, 0, 0), 1)
    assert welch(np.ones(2), np.zeros(2)) == ((1, 1, 1), 0)
