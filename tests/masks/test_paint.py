"""Masking in pixels: whole blocks under a colour, and nothing of what lies below."""

from __future__ import annotations

import pytest
import torch

from mimflow.masks.paint import paint, pixels_of


def test_the_mask_of_the_pixels_is_each_block_repeated_on_both_axes() -> None:
    mask = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    pixels = pixels_of(mask, torch.Size((8, 12)), 4)
    for i in range(8):
        for j in range(12):
            assert torch.equal(pixels[:, 0, i, j], mask[:, i // 4 * 3 + j // 4])


def test_painted_pixels_have_the_colour_and_the_others_stay() -> None:
    images, colour = torch.randn(2, 3, 8, 8), torch.randn(1, 3, 1, 1)
    mask = torch.tensor([[True, False, False, True], [False, True, False, False]])
    painted, pixels = paint(images, mask, 4, colour), pixels_of(mask, torch.Size((8, 8)), 4)
    everywhere = pixels.expand(-1, 3, -1, -1)
    assert torch.equal(painted[everywhere], colour.expand_as(images)[everywhere])
    assert torch.equal(painted[~everywhere], images[~everywhere])


def test_a_hidden_value_that_is_not_finite_does_not_come_through() -> None:
    images, mask = torch.full((1, 3, 4, 4), torch.nan), torch.ones(1, 1, dtype=torch.bool)
    assert torch.equal(paint(images, mask, 4, torch.zeros(1, 3, 1, 1)), torch.zeros(1, 3, 4, 4))


def test_blocks_that_do_not_fill_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match="10 x 8 pixels do not divide into blocks of 4"):
        pixels_of(torch.ones(1, 4, dtype=torch.bool), torch.Size((10, 8)), 4)
