"""Views: cut on the host, finished on the device."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from mimflow.data.augment import crop, finish, fit, one_view, shift
from mimflow.draw import Draw
from mimflow.params.fields import Augment

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)


def draw(count: int = 6, seed: int = 0) -> Draw:
    return Draw(np.arange(count, dtype=np.int64), "views", seed)


def test_a_shift_is_a_window_of_the_mirrored_image() -> None:
    shifted = shift(IMAGES, 16, 4, draw())
    offset = draw().integers("shift", 2, 9) - 4
    for image, out, (y, x) in zip(IMAGES, shifted, offset, strict=True):
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        assert np.array_equal(out, padded[4 + y : 20 + y, 4 + x : 20 + x])
    assert len({tuple(o) for o in offset.tolist()}) > 1


@pytest.mark.parametrize("cut", [shift, crop])
def test_a_view_depends_on_its_own_image_and_numbers_only(cut: object) -> None:
    amount = 4 if cut is shift else 0.2
    together = cut(list(IMAGES), 16, amount, draw())  # type: ignore[operator]
    one = Draw(np.array([3], dtype=np.int64), "views", 0)
    alone = cut([IMAGES[3]], 16, amount, one)  # type: ignore[operator]
    assert np.array_equal(together[3], alone[0])


def test_a_crop_is_pillows_resize_of_a_box_with_the_allowed_area_and_shape() -> None:
    gradient = np.stack(
        [*np.meshgrid(np.arange(64), np.arange(48)), np.zeros((48, 64))], -1
    ).astype(np.uint8)
    out = crop([gradient] * 200, 16, 0.2, draw(200)).astype(float)
    width = (
        (out[:, 8, -1, 0] - out[:, 8, 0, 0]) / 15 * 16
    )  # a unit step of the gradient is one pixel
    height = (out[:, -1, 8, 1] - out[:, 0, 8, 1]) / 15 * 16
    area, ratio = width * height / (48 * 64), width / height
    assert area.min() > 0.15 and area.max() < 1.1 and area.std() > 0.15
    assert ratio.min() > 0.65 and ratio.max() < 1.5


def test_an_image_too_narrow_for_any_box_is_cropped_in_the_middle() -> None:
    narrow = np.zeros((2, 400, 3), np.uint8)
    narrow[:, 195:205] = 255
    assert crop([narrow], 8, 0.9, draw(1)).mean() > 200


def test_fit_keeps_the_middle_of_the_short_side() -> None:
    wide = RNG.integers(0, 256, (16, 40, 3), dtype=np.uint8)
    assert np.array_equal(fit([wide], 16)[0], wide[:, 12:28])
    resized = Image.fromarray(wide).resize((8, 8), Image.Resampling.BICUBIC, (12, 0, 28, 16))
    assert np.array_equal(fit([wide], 8)[0], np.asarray(resized))
    assert fit(IMAGES, 16) is IMAGES


def test_finish_standardises_and_flips() -> None:
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    flip = torch.tensor([True, False, True, False, True, False])
    batch = {"image": torch.from_numpy(IMAGES), "image.flip": flip, "place": torch.arange(6)}
    out = finish(mean, std, torch.device("cpu"))(batch)
    expected = (
        torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255 - torch.tensor(mean)[:, None, None]
    ) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(out["image"][1::2], expected[1::2], rtol=0, atol=1e-5)
    torch.testing.assert_close(out["image"][::2], expected[::2].flip(-1), rtol=0, atol=1e-5)
    assert torch.equal(out["place"], torch.arange(6))


@pytest.mark.parametrize("flip", [True, False])
def test_half_of_the_views_are_flipped_or_none(flip: bool) -> None:
    views = one_view(Augment(kind="shift", amount=1, flip=flip), 16)
    flips = views(np.zeros((1000, 16, 16, 3), np.uint8), draw(1000), 0)["image.flip"]
    assert (450 < flips.sum() < 550) if flip else not flips.any()


def test_views_of_arrays_keep_their_bits() -> None:
    """What is committed was trained on these crops."""
    numbers = np.random.default_rng(7)
    sides = numbers.integers(5, 90, (40, 2)).tolist()
    images = [numbers.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sides]
    made = crop(images, 24, 0.2, draw(40)), fit(images, 24), shift(images, 24, 3, draw(40))
    found = [hashlib.sha256(view.tobytes()).hexdigest()[:16] for view in made]
    assert found == ["64d8bab5cde99ae0", "075e0c46b91a5bbb", "acdc992c6df03ef0"]
