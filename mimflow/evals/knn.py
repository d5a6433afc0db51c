"""Weighted k-nearest neighbours on cosine similarity (Wu et al., arXiv 1805.01978, section 3.4)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mimflow.device import device
from mimflow.evals.standardise import standardise
from mimflow.params.tasks.knn import Knn

ROWS, BANK = 1000, 50_000  # the part of the similarity matrix that is in memory at a time


def variant(k: int, temperature: float) -> str:
    """The name of a point of the grid."""
    return f"k{k}_t{temperature:g}"


def predict(
    train: np.ndarray, labels: np.ndarray, held: np.ndarray, how: Knn
) -> dict[str, np.ndarray]:
    """Point of the grid -> int64 (m,), the label with the largest sum of exp(similarity /
    temperature) over the k nearest; of all training images where there are fewer.
    """
    if how.standardise:
        train, held = standardise(train, held)
    bank, query = (
        torch.nn.functional.normalize(torch.from_numpy(x).to(device()), dim=1)
        for x in (train, held)
    )  # (n, D), (m, D)
    known = torch.from_numpy(labels.astype(np.int64)).to(device())
    most = min(max(how.grid.k), len(bank))
    found: dict[str, list[Tensor]] = {}
    for rows in query.split(ROWS):
        similarity, nearest = neighbours(rows, bank, most)  # (B, most)
        for temperature in how.grid.temperature:
            near = similarity - similarity[:, :1]  # the nearest weighs 1: same winner, no overflow
            weight = (near / temperature).exp()
            for k in how.grid.k:
                votes = weight.new_zeros(len(rows), int(known.max()) + 1)  # (B, classes)
                votes.scatter_add_(1, known[nearest[:, :k]], weight[:, :k])
                found.setdefault(variant(k, temperature), []).append(votes.argmax(1))
    return {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}


def neighbours(rows: Tensor, bank: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Similarity and number in the bank of the `count` nearest, nearest first: (B, count) each."""
    best: tuple[Tensor, Tensor] | None = None
    for start in range(0, len(bank), BANK):
        near = rows @ bank[start : start + BANK].T  # (B, BANK)
        similarity, place = near.topk(min(count, near.shape[1]), dim=1)
        place += start
        if best is not None:
            similarity, place = torch.cat([best[0], similarity], 1), torch.cat([best[1], place], 1)
            similarity, order = similarity.topk(min(count, similarity.shape[1]), dim=1)
            place = place.gather(1, order)
        best = similarity, place
    assert best is not None
    return best
