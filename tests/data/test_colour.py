"""Colours change as named, image by image, and not at all where the chance is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mimflow.data.colour import LUMA, NUMBERS, changed

STILL = {"jitter": [0.4, 0.4, 0.2, 0.1], "jitter_chance": 0.0, "grey": 0.0, "blur": 0.0}
STILL |= {"solarise": 0.0}


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def numbers(count: int = 4) -> Tensor:
    return torch.rand(count, NUMBERS, generator=torch.Generator().manual_seed(1))


def test_without_a_chance_nothing_changes() -> None:
    assert torch.equal(changed(images(), numbers(), **STILL), images())


def test_values_stay_in_range_and_each_image_has_its_own_numbers() -> None:
    how = {**STILL, "jitter_chance": 0.8, "grey": 0.2, "blur": 0.5, "solarise": 0.2}
    whole = changed(images(), numbers(), **how)
    assert whole.min() >= 0 and whole.max() <= 1
    torch.testing.assert_close(changed(images()[2:], numbers()[2:], **how), whole[2:])


def test_the_middle_number_jitters_nothing() -> None:
    still = changed(images(), numbers() * 0 + 0.5, **{**STILL, "jitter_chance": 1.0})
    torch.testing.assert_close(still, images(), rtol=1e-4, atol=1e-4)


def test_grey_is_the_luma_in_every_channel() -> None:
    grey = changed(images(), numbers(), **{**STILL, "grey": 1.0})
    luma = (images() * torch.tensor(LUMA)[:, None, None]).sum(1)
    assert all(torch.equal(grey[:, c], luma) for c in range(3))


def test_solarising_turns_the_bright_half_over() -> None:
    x = images()
    out = changed(x, numbers(), **{**STILL, "solarise": 1.0})
    assert torch.equal(out, torch.where(x >= 0.5, 1 - x, x))


def test_a_blur_keeps_the_mean_of_a_flat_image_and_smooths_others() -> None:
    how = {**STILL, "blur": 1.0}
    flat = torch.full((2, 3, 16, 16), 0.3)
    torch.testing.assert_close(changed(flat, numbers(2), **how), flat)
    assert changed(images(), numbers(), **how).std() < 0.8 * images().std()


@pytest.mark.parametrize("turn", [0.0, 0.25, 0.9])
def test_a_turned_hue_keeps_the_luma(turn: float) -> None:
    x = images() * 0.2 + 0.4  # nothing is cut at 0 or 1
    how = {**STILL, "jitter": [0.0, 0.0, 0.0, 0.1], "jitter_chance": 1.0}
    out = changed(x, numbers() * 0 + turn, **how)
    weights = torch.tensor(LUMA)[:, None, None]
    torch.testing.assert_close((out * weights).sum(1), (x * weights).sum(1), rtol=0, atol=2e-3)
    assert not torch.allclose(out, x, atol=1e-3)
