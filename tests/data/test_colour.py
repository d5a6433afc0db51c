"""Colours of crops: each change is what Pillow or the definition of hue makes of it."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from mimflow.data.augment import finish
from mimflow.data.colour import blurred, coloured, turned
from mimflow.data.crops import colour_numbers
from mimflow.draw import Draw
from mimflow.params.colour import Colour

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
SAME = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
COLOUR = Colour.model_validate(
    {
        "jitter": [0.4, 0.4, 0.2, 0.1],
        "jitter_share": 0.8,
        "grey": 0.2,
        "blur": [1.0, 0.1, 0.0],
        "radius": [0.1, 2.0],
        "solarise": [0.0, 0.2, 0.0],
    }
)


def changed(**values: float) -> np.ndarray:
    names = ["brightness", "contrast", "saturation", "hue", "grey", "solarise", "blur"]
    numbers = torch.tensor([[*SAME, 0.0] if "blur" in values else SAME] * 4)
    for name, value in values.items():
        numbers[:, names.index(name)] = value
    return coloured(torch.from_numpy(PIXELS), numbers).numpy()


def pillow(change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    images = [change(Image.fromarray(x)).convert("RGB") for x in PIXELS]
    return np.stack([np.asarray(x) for x in images]).astype(np.float32)


def test_numbers_that_change_nothing_change_nothing() -> None:
    np.testing.assert_allclose(changed(), PIXELS, atol=1e-3)
    np.testing.assert_allclose(changed(blur=0.0), PIXELS, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "enhance", "value"),
    [
        ("brightness", ImageEnhance.Brightness, 0.6),
        ("brightness", ImageEnhance.Brightness, 1.4),
        ("contrast", ImageEnhance.Contrast, 0.6),
        ("contrast", ImageEnhance.Contrast, 1.4),
        ("saturation", ImageEnhance.Color, 0.8),
        ("saturation", ImageEnhance.Color, 1.2),
    ],
)
def test_light_contrast_and_saturation_are_pillows_to_its_rounding(
    name: str, enhance: type[ImageEnhance.Brightness], value: float
) -> None:
    expected = pillow(lambda image: enhance(image).enhance(value))
    np.testing.assert_allclose(changed(**{name: value}), expected, atol=1.5)  # it rounds twice


def test_grey_and_solarised_are_pillows() -> None:
    np.testing.assert_allclose(changed(grey=1.0), pillow(ImageOps.grayscale), atol=1.0)
    solarised = pillow(lambda image: ImageOps.solarize(image, 128))
    np.testing.assert_allclose(changed(solarise=1.0), solarised, atol=1e-3)


@pytest.mark.parametrize("turn", [-0.1, 0.0, 0.07, 0.5])
def test_a_hue_turns_as_the_definition_says(turn: float) -> None:
    x = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
    ours = turned(x, torch.full((4, 1, 1), turn)).permute(0, 2, 3, 1).reshape(-1, 3)
    for before, after in zip((PIXELS / 255).reshape(-1, 3), ours.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        assert after == pytest.approx(expected, abs=1e-5)


def test_a_blur_is_a_gaussian_of_each_image_and_keeps_flat_pictures() -> None:
    point = torch.zeros(2, 3, 21, 21)
    point[:, :, 10, 10] = 1
    out = blurred(point, torch.tensor([1.0, 0.0]))
    assert torch.equal(out[1], point[1])
    step = torch.arange(-10, 11).float()
    weight = torch.where(step.abs() <= 6, (-0.5 * step**2).exp(), 0.0)
    expected = torch.outer(weight, weight) / weight.sum() ** 2
    torch.testing.assert_close(out[0, 1], expected, rtol=1e-5, atol=1e-7)
    flat = torch.full((2, 3, 21, 21), 0.3)
    torch.testing.assert_close(blurred(flat, torch.tensor([2.0, 0.5])), flat)


def test_numbers_have_the_stated_ranges_and_shares() -> None:
    draw = Draw(np.arange(4000), "views", 0)
    first, second, local = (colour_numbers(COLOUR, i, draw, "image") for i in range(3))
    assert first.shape == second.shape == (4000, 7) and local.shape == (4000, 6)
    assert first.dtype == np.float32
    light, hue = first[:, 0], first[:, 3]
    assert 0.6 <= light.min() < 0.62 and 1.38 < light.max() <= 1.4
    assert -0.1 <= hue.min() < -0.09 and 0.09 < hue.max() <= 0.1
    assert (light != 1).mean() == pytest.approx(0.8, abs=0.03)
    assert first[:, 4].mean() == pytest.approx(0.2, abs=0.03)
    assert not first[:, 5].any() and second[:, 5].mean() == pytest.approx(0.2, abs=0.03)
    assert first[:, 6].min() >= 0.1 and first[:, 6].max() <= 2
    assert (second[:, 6] > 0).mean() == pytest.approx(0.1, abs=0.03)


def test_finish_colours_a_view_before_it_is_standardised() -> None:
    numbers = torch.tensor([[0.5, 1, 1, 0, 0, 0]] * 4)
    batch: dict[str, Tensor] = {"image": torch.from_numpy(PIXELS), "image.colour": numbers}
    render = finish([0.5] * 3, [0.25] * 3, torch.device("cpu"))
    expected = (torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255 * 0.5 - 0.5) / 0.25
    torch.testing.assert_close(render(batch)["image"], expected, rtol=0, atol=1e-5)
