"""Weighted k-nearest neighbours on cosine similarity (Wu et al., arXiv 1805.01978, section 3.4)."""

from __future__ import annotations

import numpy as np
import torch

from mimflow.evals.standardise import standardise
from mimflow.params.sections import Knn

CHUNK = 1000  # rows of the similarity matrix at a time


def knn_accuracy(features: dict[str, np.ndarray], labels: dict[str, np.ndarray], how: Knn) -> float:
    """Percent of held-out images whose label has the largest sum of exp(similarity / temperature)
    over the k nearest.
    """
    train, held = features["train"], features["held"]
    if how.standardise:
        train, held = standardise(train, held)
    bank = torch.nn.functional.normalize(torch.from_numpy(train), dim=1)  # (n, D)
    query = torch.nn.functional.normalize(torch.from_numpy(held), dim=1)
    known = torch.from_numpy(labels["train"].astype(np.int64))
    classes = int(known.max()) + 1
    right = 0
    for rows, truth in zip(
        query.split(CHUNK), torch.from_numpy(labels["held"]).split(CHUNK), strict=True
    ):
        similarity, nearest = (rows @ bank.T).topk(min(how.k, len(bank)), dim=1)  # (B, k)
        weight = ((similarity - 1) / how.temperature).exp()  # - 1: never overflows, same winner
        votes = torch.zeros(len(rows), classes).scatter_add_(1, known[nearest], weight)
        right += int((votes.argmax(1) == truth).sum())
    return 100 * right / len(query)
