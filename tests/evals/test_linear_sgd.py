"""MAE's probe: the update of LARS, all learning rates as if alone, what it must reach."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn import blobs
from torch import nn

from mimflow.data.order import samples_at
from mimflow.evals import linear_sgd
from mimflow.params.tasks.linear_sgd import LinearSgd

HOW = LinearSgd(
    base_lr=10.0,
    grid=[0.1, 10.0, 30.0],
    batch=128,
    epochs=60,
    warmup=2.0,
    momentum=0.9,
    trust=0.001,
    weight_decay=0.01,
    seed=0,
    threads=1,
)


def alone(
    train: np.ndarray, labels: np.ndarray, held: np.ndarray, how: LinearSgd, base_lr: float
) -> np.ndarray:
    """The published probe written with torch's own modules and autograd, one learning rate."""
    x, y = torch.from_numpy(train), torch.from_numpy(labels).long()
    norm, head = nn.BatchNorm1d(x.shape[1], affine=False, eps=1e-6), nn.Linear(x.shape[1], 5)
    generator = torch.Generator().manual_seed(how.seed)
    head.weight.data = 0.01 * torch.randn(5, x.shape[1], generator=generator)
    head.bias.data.zero_()
    moved = {p: torch.zeros_like(p) for p in head.parameters()}
    for step in range(how.epochs * len(x) // how.batch):
        positions = np.arange(step * how.batch, (step + 1) * how.batch)
        rows = samples_at(positions, len(x), how.seed)
        epoch = step * how.batch / len(x)
        peak = base_lr * how.batch / 256
        rate = peak * (
            epoch / how.warmup
            if epoch < how.warmup
            else 0.5 * (1 + np.cos(np.pi * (epoch - how.warmup) / (how.epochs - how.warmup)))
        )
        head.zero_grad()
        nn.functional.cross_entropy(head(norm(x[rows])), y[rows]).backward()
        for p in head.parameters():
            assert p.grad is not None
            change = p.grad
            if p.ndim > 1:
                change = change + how.weight_decay * p.data
                change = change * how.trust * p.data.norm() / change.norm()
            moved[p] = how.momentum * moved[p] + change
            p.data -= rate * moved[p]
    norm.eval()
    return head(norm(torch.from_numpy(held))).argmax(1).numpy()


def test_each_learning_rate_is_trained_as_if_alone_by_the_published_update() -> None:
    train, labels, held, _ = blobs(1.0)
    how = HOW.model_copy(update={"epochs": 100})  # long enough for answers that are no near ties
    found = linear_sgd.predict(train, labels, held, how)
    assert list(found) == ["lr0.1", "lr10", "lr30"]
    for base_lr in HOW.grid:
        expected = alone(train, labels, held, how, base_lr)
        agree = (found[linear_sgd.variant(base_lr)] == expected).mean()
        assert agree >= 0.98  # rounding turns near ties, at the highest rate most
    assert not np.array_equal(found["lr0.1"], found["lr30"])


def test_a_matrix_is_adapted_and_a_vector_is_not() -> None:
    how = HOW.model_copy(update={"weight_decay": 0.0})
    gradient = torch.tensor([[[3.0, 4.0]], [[30.0, 40.0]]])  # (2, 1, 2)
    matrix = torch.ones(2, 1, 2)
    linear_sgd.lars(matrix, gradient, torch.zeros_like(matrix), torch.ones(2), how)
    step = 0.001 * 2**0.5 * torch.tensor([0.6, 0.8])  # the gradient's length does not matter
    torch.testing.assert_close(matrix, 1 - step.expand(2, 1, 2))
    vector = torch.ones(2, 2)
    linear_sgd.lars(vector, gradient[:, 0], torch.zeros_like(vector), torch.tensor([0.1, 1]), how)
    torch.testing.assert_close(vector, torch.tensor([[0.7, 0.6], [-29.0, -39.0]]))


def test_zero_weights_and_zero_gradients_are_not_adapted() -> None:
    matrix = torch.zeros(1, 1, 2)
    how = HOW.model_copy(update={"weight_decay": 0.0})
    linear_sgd.lars(matrix, torch.ones(1, 1, 2), torch.zeros_like(matrix), torch.ones(1), how)
    assert (matrix == -1).all()
    linear_sgd.lars(matrix, torch.zeros(1, 1, 2), torch.zeros_like(matrix), torch.ones(1), how)
    assert (matrix == -1).all()


def test_separable_features_are_classified_perfectly() -> None:
    train, labels, held, truth = blobs(0.01)
    assert (linear_sgd.predict(train, labels, held, HOW)["lr10"] == truth).all()


def test_shuffled_labels_give_chance() -> None:
    train, labels, held, truth = blobs(0.01, count=2000)
    shuffled = np.random.default_rng(1).permutation(labels)
    found = linear_sgd.predict(train, shuffled, held, HOW)["lr10"]
    assert (found == truth).mean() == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("count", [1, 3])
def test_one_class_or_one_image_is_what_it_predicts(count: int) -> None:
    train, held = np.ones((count, 2), np.float32), np.ones((4, 2), np.float32)
    for found in linear_sgd.predict(train, np.zeros(count, int), held, HOW).values():
        assert (found == 0).all() and len(found) == 4
