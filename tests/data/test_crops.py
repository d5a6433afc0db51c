"""Several crops of one image: sizes, areas, places, and that one decode serves them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mimflow.data.augment import Box, fill
from mimflow.data.crops import multi_crop, stacked
from mimflow.draw import Draw
from mimflow.params.fields import Augment
from mimflow.params.selfdistill import Crops

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(12)]
AUGMENT = Augment(kind="crop", amount=0.25, flip=True)
CROPS = Crops(count=3, size=16, area=[0.05, 0.25])
NAMES = ["image", "second", "local0", "local1", "local2"]


def draw(count: int = 12) -> Draw:
    return Draw(np.arange(count, dtype=np.int64), "views", 0)


def test_crops_have_their_sizes_and_lie_where_their_boxes_say() -> None:
    views = multi_crop(AUGMENT, 32, CROPS, None)(IMAGES, draw(), 0)
    assert set(views) == {f"{n}{end}" for n in NAMES for end in ("", ".flip", ".box")}
    for name in NAMES:
        side = 16 if name.startswith("local") else 32
        assert views[name].shape == (12, side, side, 3)
        for image, box, cut in zip(IMAGES, views[f"{name}.box"], views[name], strict=True):
            out = np.empty((side, side, 3), np.uint8)
            fill(image, [tuple(box.tolist())], [out])
            assert np.array_equal(out, cut)


def test_areas_are_those_of_each_kind_of_crop() -> None:
    views = multi_crop(AUGMENT, 32, CROPS, None)(IMAGES * 30, draw(360), 0)
    for name in NAMES:
        x, y, width, height = views[f"{name}.box"].T
        share = width * height / (40 * 56)
        low, high = (0.05, 0.25) if name.startswith("local") else (0.25, 1.0)
        assert share.min() > 0.85 * low and share.max() < 1.1 * high and share.std() > 0.05
        assert (x >= 0).all() and (x + width <= 56).all() and (y + height <= 40).all()


def test_every_crop_of_an_image_has_numbers_of_its_own_and_no_other_images() -> None:
    cut = multi_crop(AUGMENT, 32, CROPS, None)
    together = cut(IMAGES, draw(), 0)
    assert len({tuple(together[f"{n}.box"][0].tolist()) for n in NAMES}) == 5
    assert len({together[f"{n}.flip"].tobytes() for n in NAMES}) == 5
    alone = cut([IMAGES[5]], Draw(np.array([5], dtype=np.int64), "views", 0), 0)
    assert all(np.array_equal(alone[name][0], x[5]) for name, x in together.items())


def test_an_image_is_asked_once_for_all_its_crops() -> None:
    class Counted:
        shape = (40, 56, 3)
        asked: list[int] = []  # noqa: RUF012

        def fill(self, boxes: list[Box], outs: list[np.ndarray]) -> None:
            self.asked.append(len(boxes))

    multi_crop(AUGMENT, 32, CROPS, None)([Counted()], draw(1), 0)  # type: ignore[list-item]
    assert Counted.asked == [5]


@pytest.mark.parametrize("count", [0, 3])
def test_crops_of_one_size_are_stacked_crop_by_crop(count: int) -> None:
    batch = {name: torch.full((2, 3, 8, 8), i) for i, name in enumerate(NAMES[: 2 + count])}
    images, local = stacked(batch)
    assert images[:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    if count:
        assert local is not None and local[:, 0, 0, 0].tolist() == [2, 2, 3, 3, 4, 4]
    else:
        assert local is None
