"""Masks by attention: the order they keep, their exact counts, their hints."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mimflow.masks.attmask import most_attended, revealed, some_cleared

ATTENTION = torch.rand(6, 64, generator=torch.Generator().manual_seed(0)).softmax(-1)


def count(number: int) -> Tensor:
    return torch.tensor([[number]])


def test_high_hides_what_is_attended_most_and_low_what_least() -> None:
    high, low = (most_attended(sign * ATTENTION, count(19)) for sign in (1, -1))
    for a, most, least in zip(ATTENTION, high, low, strict=True):
        assert a[most].min() >= a[~most].max() and a[least].max() <= a[~least].min()
    assert (high.sum(1) == 19).all() and (low.sum(1) == 19).all()


def test_a_permutation_of_the_patches_permutes_the_mask() -> None:
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    whole = most_attended(ATTENTION, count(20))
    assert torch.equal(most_attended(ATTENTION[:, order], count(20)), whole[:, order])


@pytest.mark.parametrize("value", [0.0, 1 / 64])
def test_equal_attention_hides_exactly_as_many(value: float) -> None:
    assert (most_attended(torch.full((3, 64), value), count(7)).sum(1) == 7).all()


def test_hints_are_drawn_from_the_very_first_and_no_others() -> None:
    noise = torch.rand(6, 64, generator=torch.Generator().manual_seed(2))
    high = most_attended(ATTENTION, count(20))
    hint = revealed(high, ATTENTION, 6, count(3), noise)
    shown = high & ~hint
    assert (hint <= high).all() and (shown.sum(1) == 3).all()
    assert (shown <= most_attended(ATTENTION, count(6))).all()
    for row, mask in zip(noise, shown, strict=True):  # the ones with the smallest noise
        first = most_attended(ATTENTION, count(6))[noise.eq(row).all(1)][0]
        assert row[mask].max() <= row[first & ~mask].min()


def test_without_hints_hint_is_high_and_a_cleared_crop_stays_so() -> None:
    noise = torch.rand(6, 64)
    high = most_attended(ATTENTION, count(20))
    for top, number in ((0, 0), (6, 0), (0, 3)):
        assert torch.equal(revealed(high, ATTENTION, top, count(number), noise), high)
    none = torch.zeros_like(high)
    assert not revealed(none, ATTENTION, 6, count(3), noise).any()


def test_crops_are_cleared_by_their_own_number() -> None:
    high = most_attended(ATTENTION, count(20))
    noise = torch.tensor([0.1, 0.5, 0.50001, 0.9, 0.3, 0.7])[:, None]
    assert some_cleared(high, noise, 0.5).sum(1).tolist() == [20, 20, 0, 0, 20, 0]
    assert torch.equal(some_cleared(high, noise, 1.0), high)
    assert not some_cleared(high, noise, 0.0).any()


def test_attention_that_is_noise_gives_uniform_masks() -> None:
    noise = torch.rand(4000, 16, generator=torch.Generator().manual_seed(3))
    share = most_attended(noise, count(4)).float().mean(0)
    torch.testing.assert_close(share, torch.full((16,), 0.25), rtol=0, atol=0.03)
