"""Measures of features that need no label: how many dimensions they use, how evenly they spread."""

from __future__ import annotations

import numpy as np

from mimflow.data.chosen import choose

EPSILON = 1e-7  # RankMe's, added to each share
ROWS = 1000  # of the matrix of pairs that are in memory at a time


def rankme(features: np.ndarray) -> float:
    """Effective rank of (n, D) features: exp of the entropy of their singular values' shares
    (RankMe, arXiv 2210.02885, equations 1 and 2); 1 to min(n, D).
    """
    x = features.astype(np.float64)
    square = x.T @ x if x.shape[1] <= len(x) else x @ x.T  # the smaller of the two
    values = np.sqrt(np.linalg.eigvalsh(square).clip(0))
    if not values.any():
        return 1.0
    share = values / values.sum() + EPSILON
    return float(np.exp(-(share * np.log(share)).sum()))


def uniformity(features: np.ndarray) -> float:
    """Log of the mean of exp(-2 d^2) over all pairs of unit vectors (Wang and Isola, arXiv
    2005.10242, section 4.1.2): 0 when all are one point, more negative when they spread.
    """
    if len(features) < 2:
        return 0.0
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = (features / np.maximum(length, 1e-12)).astype(np.float64)
    count, total = len(unit), 0.0
    for start in range(0, count, ROWS):
        distance = 2 - 2 * (unit[start : start + ROWS] @ unit.T)  # squared
        total += float(np.exp(-2 * distance).sum())
    itself = np.exp(-4 + 4 * (unit**2).sum(1)).sum()
    return float(np.log((total - itself) / (count * (count - 1))))


def measure(draws: list[dict[str, dict[str, np.ndarray]]], images: int) -> dict[str, float | int]:
    """{rankme_<pool>, uniformity_<pool>, draws, images}, means over draws, of at most `images`
    training images, the same for every encoder.
    """
    result: dict[str, float | int] = {"draws": len(draws)}
    for pool in draws[0]:
        rows = choose(len(draws[0][pool]["train"]), images)  # the first would be of few classes
        kept = [draw[pool]["train"][rows] for draw in draws]
        result["images"] = len(kept[0])
        result[f"rankme_{pool}"] = round(float(np.mean([rankme(x) for x in kept])), 4)
        result[f"uniformity_{pool}"] = round(float(np.mean([uniformity(x) for x in kept])), 4)
    return result
