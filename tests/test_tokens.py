"""The verbs of masking."""

from __future__ import annotations

import torch

from mimflow.tokens import mask_of, masked_mean, put, take

X = torch.arange(24.0).reshape(2, 4, 3)
INDEX = torch.tensor([[2, 0], [1, 3]])


def test_take_gives_each_row_its_own_tokens() -> None:
    assert torch.equal(take(X, INDEX), torch.stack([X[0, [2, 0]], X[1, [1, 3]]]))


def test_put_undoes_take_and_leaves_the_rest() -> None:
    assert torch.equal(put(X, INDEX, take(X, INDEX)), X)
    blank = put(X, INDEX, torch.zeros(2, 2, 3))
    assert torch.equal(blank[0, [1, 3]], X[0, [1, 3]]) and blank[0, [0, 2]].sum() == 0


def test_mask_is_true_at_the_hidden_positions() -> None:
    assert mask_of(INDEX, 4).tolist() == [[True, False, True, False], [False, True, False, True]]


def test_masked_mean_is_over_the_whole_batch_and_0_without_a_mask() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    mask = torch.tensor([[True, True, False], [False, False, True]])
    assert masked_mean(values, mask) == 11
    assert masked_mean(values, torch.zeros(2, 3, dtype=torch.bool)) == 0
