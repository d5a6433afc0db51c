"""Targets as maps: cut into patches and together again, the pixels those of MAE, pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from mimflow.targets.hog import by_patch, hog
from mimflow.targets.maps import HogMap, PixelMap, by_cell
from mimflow.targets.pixels import patchify, standardise


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_patches_of_a_map_put_together_are_the_map() -> None:
    cells = torch.randn(2, 5, 8, 12)
    for side in (1, 2, 4):
        assert torch.equal(by_cell(by_patch(cells, side), side, (8 // side, 12 // side)), cells)


def test_the_map_of_pixels_holds_the_target_of_mae() -> None:
    x = images()
    assert torch.equal(by_patch(PixelMap(8, True)(x), 1), standardise(patchify(x, 8)))
    assert torch.equal(by_patch(PixelMap(8, False)(x), 1), patchify(x, 8))
    assert PixelMap(8, True).values == 192


def test_the_map_of_histograms_is_the_hog_of_the_image() -> None:
    x = images()
    assert torch.equal(HogMap(9, 4, None, True)(x), hog(x, 9, 4, None, True))
    assert HogMap(9, 4, None, True).values == 27


def test_the_true_pixels_are_drawn_as_the_image() -> None:
    x = images()
    target = PixelMap(8, True)
    torch.testing.assert_close(target.picture(target(x), x), x, rtol=0, atol=1e-5)
    target = PixelMap(8, False)
    assert torch.equal(target.picture(target(x), x), x)


def test_an_upright_edge_is_drawn_as_an_upright_line_in_the_range_of_the_image() -> None:
    x = torch.zeros(1, 3, 18, 18)
    x[..., 9:] = 1
    target = HogMap(9, 18, None, True)
    drawn = target.picture(target(x), x)
    assert drawn.shape == x.shape and drawn.amin() == 0 and drawn.amax() == 1
    assert (drawn[:, :, :, 8] > 0.4).all() and (drawn[:, :, :, [0, -1]] == 0).all()
