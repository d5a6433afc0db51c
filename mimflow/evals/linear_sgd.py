"""MAE's linear probe (arXiv 2111.06377, A.1) on stored features: batch normalisation without
affine, a linear layer, LARS; every base learning rate of the grid at once.

Letters: G base learning rates, K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mimflow.data.order import samples_at
from mimflow.device import device
from mimflow.evals.schedule import probe_rate
from mimflow.params.tasks.linear_sgd import LinearSgd

EPSILON = 1e-6  # of the batch normalisation, in the reference code
KEPT = 0.9  # of the running statistics at each step: torch's momentum 0.1
INITIAL = 0.01  # deviation of the initial weights, in the reference code


def variant(base_lr: float) -> str:
    """The name of a point of the grid."""
    return f"lr{base_lr:g}"


def predict(
    train: np.ndarray, labels: np.ndarray, held: np.ndarray, how: LinearSgd
) -> dict[str, np.ndarray]:
    """Point of the grid -> predicted labels int64 (m,). A batch holds all images if it could hold
    more, and counts as that many.
    """
    x = torch.from_numpy(train).to(device())
    y = torch.from_numpy(labels.astype(np.int64)).to(device())
    batch = min(how.batch, len(x))
    generator = torch.Generator().manual_seed(how.seed)
    start = INITIAL * torch.randn(int(y.max()) + 1, x.shape[1], generator=generator)
    weight = start.to(x.device).repeat(len(how.grid), 1, 1)  # (G, K, D): the same start for all
    bias = x.new_zeros(len(how.grid), len(start))
    momenta = torch.zeros_like(weight), torch.zeros_like(bias)
    mean, var = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
    grid = x.new_tensor(how.grid)
    for step in range(max(how.epochs * len(x) // batch, 1)):
        rows = samples_at(np.arange(step * batch, (step + 1) * batch), len(x), how.seed)
        seen, truth = x[rows], y[rows]  # (B, D), (B,)
        mean = KEPT * mean + (1 - KEPT) * seen.mean(0)
        var = KEPT * var + (1 - KEPT) * seen.var(0, correction=int(batch > 1))
        normal = (seen - seen.mean(0)) / (seen.var(0, correction=0) + EPSILON).sqrt()
        error = (normal @ weight.transpose(1, 2) + bias[:, None]).softmax(2)  # (G, B, K)
        error[:, torch.arange(batch, device=x.device), truth] -= 1
        error /= batch  # the gradient of the mean cross-entropy
        rate = grid * probe_rate(step * batch / len(x), how.epochs, how.warmup, 1.0, batch)
        lars(weight, error.transpose(1, 2) @ normal, momenta[0], rate, how)
        lars(bias, error.sum(1), momenta[1], rate, how)
    normal = (torch.from_numpy(held).to(x.device) - mean) / (var + EPSILON).sqrt()
    found = (normal @ weight.transpose(1, 2) + bias[:, None]).argmax(2).cpu()  # (G, m)
    return {variant(lr): row.numpy() for lr, row in zip(how.grid, found, strict=True)}


def lars(values: Tensor, gradient: Tensor, momentum: Tensor, rate: Tensor, how: LinearSgd) -> None:
    """One step of LARS (arXiv 1708.03888) in place, for G copies side by side.

    A matrix (G, K, D) has decay and a rate adapted to its norm; a vector (G, K) neither.
    """
    rate = rate.view(-1, *[1] * (values.ndim - 1))
    if values.ndim > 2:
        gradient = gradient + how.weight_decay * values
        norm, length = (v.flatten(1).norm(dim=1)[:, None, None] for v in (values, gradient))
        trust = how.trust * norm / length
        gradient = gradient * torch.where((norm > 0) & (length > 0), trust, torch.ones_like(trust))
    momentum.mul_(how.momentum).add_(gradient)
    values.sub_(rate * momentum)
