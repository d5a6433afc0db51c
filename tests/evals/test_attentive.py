"""The attentive probe reads what only some tokens say, and equals torch's own attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mimflow.evals.attentive import Probe, predict
from mimflow.params.tasks.attentive import Attentive

HOW = Attentive(
    num_heads=2,
    base_lr=0.02,
    batch=64,
    epochs=15,
    warmup=1.0,
    weight_decay=0.0,
    seed=0,
    threads=1,
)


def marked_tokens(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (n, 9, 8): noise, but one at a random place has a mark and the class; the mean of the
    tokens tells nothing, since another one carries the opposite.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    x = 0.1 * rng.normal(size=(count, 9, 8))
    for i, label in enumerate(labels):
        first, second = rng.choice(9, 2, replace=False)
        x[i, first, 0], x[i, first, 1 + label] = 3, 3
        x[i, second, 0], x[i, second, 1 + label] = -3, -3
    return x.astype(np.float16), labels


def test_it_finds_the_tokens_that_tell() -> None:
    train, labels = marked_tokens(400, 0)
    held, truth = marked_tokens(300, 1)
    assert (predict(train, labels, held, HOW)["probe"] == truth).mean() > 0.99
    shuffled = np.random.default_rng(1).permutation(labels)
    found = predict(train, shuffled, held, HOW)["probe"]
    assert (found == truth).mean() == pytest.approx(1 / 3, abs=0.12)


def test_it_is_the_same_each_time() -> None:
    train, labels = marked_tokens(100, 0)
    first, second = (predict(train, labels, train, HOW)["probe"] for _ in range(2))
    assert np.array_equal(first, second)


def test_what_it_gathers_is_torchs_multi_head_attention() -> None:
    torch.manual_seed(0)
    probe, x = Probe(8, 2, 3).eval(), torch.randn(5, 9, 8)
    probe.query.data *= 50  # attention far from uniform
    theirs = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    keys, values = (w.detach().flatten(0, 1) for w in (probe.key, probe.value))  # (D, D)
    theirs.in_proj_weight.data = torch.cat([torch.eye(8), keys, values])
    theirs.out_proj.weight.data = torch.eye(8)
    pooled, _ = theirs(probe.query.detach().flatten().expand(5, 1, 8), x, x)
    torch.testing.assert_close(probe(x), probe.head(probe.norm(pooled[:, 0])))


def test_heads_that_do_not_divide_the_width_are_named() -> None:
    with pytest.raises(ValueError, match=r"attentive.num_heads: 3 does not divide .* 8"):
        Probe(8, 3, 2)


@pytest.mark.parametrize("count", [1, 3])
def test_one_class_or_one_image_is_what_it_predicts(count: int) -> None:
    tokens = np.ones((count, 4, 8), np.float16)
    assert (predict(tokens, np.zeros(count, int), tokens, HOW)["probe"] == 0).all()
