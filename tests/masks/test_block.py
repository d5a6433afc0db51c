"""iBOT's block-wise masks: within the budget, made of rectangles, each image by its own numbers."""

from __future__ import annotations

import numpy as np
import pytest

from mimflow.draw import Draw
from mimflow.masks.block import chosen_ratios, ibot_blocks, random_masks
from mimflow.masks.rectangles import _add


def draw(count: int, first: int = 0) -> Draw:
    return Draw(np.arange(first, first + count, dtype=np.int64), "views", 0)


def sequential(draw: Draw, name: str, ratio: float, grid: tuple[int, int]) -> np.ndarray:
    """One image by the sheet's words, with plain loops."""
    height, width = grid
    mask, budget, number = np.zeros(grid, bool), ratio * height * width, 0
    while mask.sum() < budget:
        numbers = draw.uniform(f"{name}.{number}", 40).reshape(10, 4).astype(np.float64)
        left, number, added = budget - mask.sum(), number + 1, False
        for area, aspect, top, start in numbers:
            low = (min(grid) // 3) ** 2
            size = low + (left - low) * area
            shape = np.exp(np.log(0.3) * (1 - 2 * aspect))
            h, w = round((size * shape) ** 0.5), round((size / shape) ** 0.5)
            if h >= height or w >= width:
                continue
            y, x = int(top * (height - h + 1)), int(start * (width - w + 1))
            covered = h * w - mask[y : y + h, x : x + w].sum()
            if 0 < covered <= left:
                mask[y : y + h, x : x + w] = added = True
                break
        if not added:
            break
    return mask.reshape(-1)


@pytest.mark.parametrize("grid", [(14, 14), (8, 8), (6, 10)])
def test_masks_are_those_of_one_image_at_a_time(grid: tuple[int, int]) -> None:
    ratios = np.array([0.0, 0.1, 0.25, 0.333, 0.5, 0.7] * 4)
    together = ibot_blocks(draw(24), "mask", ratios, grid)
    for i, ratio in enumerate(ratios):
        assert np.array_equal(together[i], sequential(draw(1, i), "mask", ratio, grid))


def test_the_budget_is_never_exceeded_and_mostly_used() -> None:
    ratio = np.linspace(0, 0.5, 200)
    count = ibot_blocks(draw(200), "mask", ratio, (14, 14)).sum(1)
    assert (count <= ratio * 196).all() and (count[ratio == 0] == 0).all()
    assert count[100:].mean() > 0.8 * (ratio[100:] * 196).mean()


def test_a_rectangle_has_an_aspect_within_the_bounds_up_to_rounding() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((300, 14, 14), bool)
    added = _add(mask, np.full(300, 58.8), 16, rng.random((300, 10, 4)))
    assert added.mean() > 0.95
    for image in mask[added]:
        rows, columns = image.any(1).sum(), image.any(0).sum()
        assert image.sum() == rows * columns  # one whole rectangle
        low, high = (rows - 0.5) / (columns + 0.5), (rows + 0.5) / (columns - 0.5)
        assert high >= 0.3 and low <= 1 / 0.3


def test_half_of_the_crops_hide_nothing_and_the_rest_a_tenth_to_a_half() -> None:
    ratio = chosen_ratios(draw(4000), "mask", [0.0, 0.3], [0.0, 0.2])
    hiding = ratio[ratio > 0]
    assert len(hiding) / 4000 == pytest.approx(0.5, abs=0.03)
    assert hiding.min() >= 0.1 and hiding.max() <= 0.5
    assert hiding.mean() == pytest.approx(0.3, abs=0.01)


def test_random_masks_hide_the_whole_part_of_the_share() -> None:
    ratio = np.array([0.0, 0.1, 0.299, 0.5])
    mask = random_masks(draw(4), "mask", ratio, (14, 14))
    assert mask.sum(1).tolist() == [0, 19, 58, 98]
    many = random_masks(draw(2000), "mask", np.full(2000, 0.3), (4, 4))
    assert np.allclose(many.mean(0), 0.25, atol=0.04)  # 4 of 16, everywhere
