"""HOG: equal to the reference numbers and to a loop over pixels; the invariants of its sheet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mimflow.targets.hog import by_patch, gaussian, gradients, hog


def images(count: int = 2, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def plain(x: Tensor, cell: int = 8, normalise: bool = True) -> Tensor:
    return hog(x, 9, cell, None, normalise)


def by_bin(histograms: Tensor) -> Tensor:
    return histograms.unflatten(1, (3, -1))  # (B, C, bins, h, w)


def border_merged(histograms: Tensor) -> Tensor:
    """Bins 0 and 8 of the first and last column as one, where rounding decides between them."""
    x = by_bin(histograms).clone()
    x[:, :, 0, :, [0, -1]] += x[:, :, 8, :, [0, -1]]
    x[:, :, 8, :, [0, -1]] = 0
    return x


def looped(x: Tensor, bins: int, cell: int) -> np.ndarray:
    """Sums of an image (C, H, W), pixel by pixel, float64."""
    padded = np.pad(x.double().numpy(), ((0, 0), (1, 1), (1, 1)), mode="reflect")
    channels, height, width = x.shape
    out = np.zeros((channels, bins, height // cell, width // cell))
    sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                around = padded[c, i : i + 3, j : j + 3]
                across, down = (around * sobel).sum(), (around * sobel.T).sum()
                vote = math.floor(math.atan2(across, down) * bins / math.pi) % bins
                out[c, vote, i // cell, j // cell] += math.hypot(across, down)
    return out


@pytest.mark.parametrize(
    ("key", "window", "normalise"),
    [
        ("plain_l2", None, True),
        ("plain_raw", None, False),
        ("gauss16_l2", 16, True),
        ("gauss16_raw", 16, False),
    ],
)
def test_histograms_equal_the_reference(
    golden: Any, key: str, window: int | None, normalise: bool
) -> None:
    reference = golden("hog")
    ours, theirs = hog(reference["in.imgs"], 9, 8, window, normalise), reference[f"out.{key}"]
    torch.testing.assert_close(by_bin(ours)[..., 1:-1], by_bin(theirs)[..., 1:-1])
    if normalise:  # how bins 0 and 8 share changes the length that all are divided by
        between = [nn.functional.normalize(by_bin(x)[:, :, 1:8], dim=2) for x in (ours, theirs)]
        torch.testing.assert_close(*between)
    else:
        torch.testing.assert_close(border_merged(ours), border_merged(theirs))


def test_gradients_and_votes_equal_the_reference(golden: Any) -> None:
    reference = golden("hog")
    across, down = gradients(reference["in.imgs"])
    torch.testing.assert_close(across, reference["mid.gx"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(down, reference["mid.gy"], rtol=1e-4, atol=1e-5)
    votes = (torch.atan2(across, down) * (9 / math.pi)).floor().remainder(9)
    assert torch.equal(votes[..., 1:-1], reference["mid.bin"][..., 1:-1].float())
    assert (across[..., [0, -1]] == 0).all() and (votes[..., [0, -1]] == 0).all()


def test_the_window_equals_the_reference(golden: Any) -> None:
    torch.testing.assert_close(
        gaussian(16, torch.zeros(1, 1, 16, 16)), golden("hog")["out.gauss_kernel16"]
    )


def test_the_layout_of_a_patch_equals_the_reference(golden: Any) -> None:
    reference = golden("hog")
    assert torch.equal(by_patch(reference["out.plain_l2"], 2), reference["out.patch16_target"])
    corner = hog(reference["mm.img_corner"][:, :, :48, :48], 9, 8, 16, True)
    torch.testing.assert_close(by_patch(corner, 2)[:, [0, 1, 3, 4]], reference["mm.target_rows01"])


@pytest.mark.parametrize(("bins", "cell", "size"), [(9, 8, 32), (9, 4, 20), (12, 2, 10)])
def test_histograms_equal_a_loop_over_pixels(bins: int, cell: int, size: int) -> None:
    x = images(2, size)
    ours = hog(x, bins, cell, None, False).unflatten(1, (3, bins)).double()
    theirs = torch.stack([torch.as_tensor(looped(image, bins, cell)) for image in x])
    for merged in (ours, theirs):  # bins 0 and the last, where the horizontal gradient is 0
        merged[:, :, 0, :, [0, -1]] += merged[:, :, -1, :, [0, -1]]
        merged[:, :, -1, :, [0, -1]] = 0
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_each_histogram_has_length_one_and_that_of_a_flat_cell_is_zero() -> None:
    x = images()
    x[0, 0, :10, :10] = 0.7  # one cell and all that its gradients touch
    length = by_bin(plain(x)).norm(dim=2)
    assert length.shape == (2, 3, 4, 4) and length[0, 0, 0, 0] == 0
    length[0, 0, 0, 0] = 1
    torch.testing.assert_close(length, torch.ones_like(length))
    assert (plain(torch.full((1, 3, 16, 16), 0.7)) == 0).all()


def test_brightness_contrast_and_sign_change_nothing() -> None:
    x, scale = images(), torch.tensor([2.0, 0.5, 4.0])[:, None, None]  # powers of two: exact
    torch.testing.assert_close(plain(x * scale + 3), plain(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(border_merged(plain(-x)), border_merged(plain(x)))
    assert not torch.allclose(plain(x * scale, normalise=False), plain(x, normalise=False))


def test_half_a_turn_moves_the_cells_and_keeps_the_bins() -> None:
    x = images()
    ours, theirs = plain(x.flip(2, 3)).flip(2, 3), plain(x)
    torch.testing.assert_close(border_merged(ours), border_merged(theirs), rtol=0, atol=1e-6)


def test_a_mirrored_image_has_its_bins_in_reverse_but_at_the_border() -> None:
    x = images()
    ours, theirs = by_bin(plain(x.flip(3))).flip(4), by_bin(plain(x)).flip(2)
    torch.testing.assert_close(ours[..., 1:-1], theirs[..., 1:-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("axis", "middle"), [(3, 4), (2, 0)])
def test_an_upright_edge_is_in_the_middle_bin_and_a_level_one_in_the_first(
    axis: int, middle: int
) -> None:
    x = torch.zeros(1, 3, 24, 24)
    x.narrow(axis, 12, 12).fill_(1.0)
    found = by_bin(plain(x, cell=24))[0, :, :, 0, 0]
    assert (found.argmax(1) == middle).all()
    torch.testing.assert_close(found[:, middle], torch.ones(3))


def test_the_target_has_no_gradient_and_is_float32_under_mixed_precision() -> None:
    x = images().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = plain(x)
    assert not found.requires_grad and found.dtype == torch.float32
    assert torch.equal(found, plain(x.detach()))


def test_cells_that_do_not_fill_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match="30 x 30 pixels do not divide into cells of 8"):
        plain(images(1, 30))


def test_standardised_colours_do_not_change_the_target() -> None:
    pixels = images().clamp(-1, 1)
    mean, std = torch.tensor([0.48, 0.45, 0.4]), torch.tensor([0.23, 0.22, 0.225])
    ours = plain((pixels - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(border_merged(ours), border_merged(plain(pixels)), atol=1e-5, rtol=0)
