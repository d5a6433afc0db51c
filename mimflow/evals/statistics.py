"""Intervals and differences one may believe.

Over seeds: Student's t. Two encoders on the same test items: paired bootstrap (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). Two methods, several seeds each:
Welch's test (Biometrika 34, 1947; arXiv 1904.06979 compares such tests at few seeds: a permutation
of three seeds against three has no p below 0.1, Welch's keeps its rate best with unequal spreads).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
RESAMPLES = 10_000


class Interval(NamedTuple):
    """An estimate and the bounds of its interval at `LEVEL`."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width."""
        return (self.high - self.low) / 2


def student(values: np.ndarray) -> Interval:
    """The mean of (n,) independent values, n at least 2, as of n seeds or draws."""
    if len(values) < 2:
        raise ValueError(f"an interval over seeds needs two values at least, not {len(values)}")
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * error
    return Interval(float(mean), float(mean - half), float(mean + half))


def bootstrap(values: np.ndarray, seed: int = 0) -> Interval:
    """The mean of (m,) values of test items, by resampling the items.

    For a difference of two encoders the values are the paired differences. A resample's mean
    depends only on how often each distinct value is drawn: these counts are drawn at once.
    """
    if not len(values):
        raise ValueError("an interval over test items needs one item at least")
    distinct, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(
        len(values), counts / len(values), size=RESAMPLES
    )
    means = drawn @ distinct / len(values)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def welch(first: np.ndarray, second: np.ndarray) -> tuple[Interval, float]:
    """Mean of the first minus mean of the second, two seeds at least each, and the two-sided p."""
    if min(len(first), len(second)) < 2:
        raise ValueError("Welch's comparison needs two seeds at least of each method")
    parts = [x.var(ddof=1) / len(x) for x in (first, second)]
    value, error = float(first.mean() - second.mean()), float(np.sqrt(sum(parts)))
    if error == 0:
        return Interval(value, value, value), float(value == 0)
    freedom = sum(parts) ** 2 / sum(
        p**2 / (len(x) - 1) for p, x in zip(parts, (first, second), strict=True)
    )
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    p = 2 * float(stdtr(freedom, -abs(value) / error))
    return Interval(value, value - half, value + half), p
