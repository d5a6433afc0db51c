"""Pixels as targets."""

from __future__ import annotations

import torch

from mimflow.targets.pixels import patchify, standardise, unpatchify


def test_unpatchify_undoes_patchify_bit_for_bit() -> None:
    images = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpatchify(patchify(images, 4), 4, (3, 5)), images)


def test_a_pixel_lands_at_row_column_channel() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[0, 2, 5, 6] = 1  # patch (1, 1), row 1, column 2, channel 2
    assert patchify(images, 4).nonzero().tolist() == [[0, 3, (1 * 4 + 2) * 3 + 2]]


def test_standardised_patches_have_mean_0_and_unbiased_variance_1() -> None:
    patches = torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(0)) * 7 + 3
    x = standardise(patches)
    torch.testing.assert_close(x.mean(-1), torch.zeros(2, 5), rtol=0, atol=1e-6)
    torch.testing.assert_close(x.var(-1), torch.ones(2, 5), rtol=1e-5, atol=0)


def test_a_flat_patch_stays_finite() -> None:
    assert torch.equal(standardise(torch.full((1, 1, 48), 0.5)), torch.zeros(1, 1, 48))
