"""Attention and codes as pictures in the range of the images."""

from __future__ import annotations

import torch

from mimflow.targets.shown import covered, heat, palette

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def patches(x: torch.Tensor) -> torch.Tensor:
    """(B, 3, 2, 2, 4, 4): a patch's pixels last."""
    return x.unflatten(2, (2, 4)).unflatten(4, (2, 4)).transpose(3, 4)


def test_heat_is_bright_where_a_patch_is_attended_and_one_value_in_it() -> None:
    shown = patches(heat(torch.tensor([[0.1, 0.2, 0.3, 0.4], [4.0, 3, 2, 1]]), IMAGES))
    assert (shown == shown[..., :1, :1]).all() and (shown == shown[:, :1]).all()
    assert shown[0, 0, 1, 1, 0, 0] == IMAGES.max() and shown[0, 0, 0, 0, 0, 0] == IMAGES.min()
    assert shown[1, 0, 0, 0, 0, 0] == IMAGES.max()


def test_patches_of_one_code_have_one_colour_and_others_another() -> None:
    shown = patches(palette(torch.tensor([[5, 5, 9, 5], [9, 700, 0, 1]]), IMAGES))[..., 0, 0]
    assert torch.equal(shown[0, :, 0, 0], shown[0, :, 1, 1])
    assert torch.equal(shown[0, :, 1, 0], shown[1, :, 0, 0])
    assert len({tuple(shown[1, :, y, x].tolist()) for y in (0, 1) for x in (0, 1)}) == 4


def test_hidden_patches_are_covered_and_no_others() -> None:
    mask = torch.tensor([[True, False, False, True], [False] * 4])
    shown = covered(mask, IMAGES)
    assert torch.equal(shown[1], IMAGES[1])
    assert (patches(shown)[0, :, 0, 0] == 0).all() and (patches(shown)[0, :, 1, 1] == 0).all()
    assert torch.equal(patches(shown)[0, :, 0, 1], patches(IMAGES)[0, :, 0, 1])
