"""Drawn scenes: an image depends on its index alone, and all that is said of it is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from mimflow.data import stencils
from mimflow.data.scenes import Scenes, draw_scenes, set_apart
from mimflow.data.stencils import CLASSES
from mimflow.data.wording import COLOURS, SIZES, nearest_colour

ARRAYS = ("image", "label", "semantic", "instances")
CLEAR = {"seed": 0, "train": 1000, "test": 1000, "size": 32, "clutter": "clear", "objects": 1}
ALL = [("clear", 32, 1), ("middle", 32, 1), ("clutter", 64, 1), ("clutter", 64, 3)]


def scenes(count: int = 64, split: str = "train", **changes: object) -> dict:
    return draw_scenes(Scenes(**CLEAR | changes), split, np.arange(count))


@pytest.fixture(scope="module", params=ALL, ids=lambda look: "-".join(map(str, look)))
def drawn(request: pytest.FixtureRequest) -> dict:
    clutter, size, objects = request.param
    return scenes(100, clutter=clutter, size=size, objects=objects)


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize(("clutter", "size", "objects"), ALL)
def test_an_image_does_not_depend_on_the_batch(
    clutter: str, size: int, objects: int, batch: int
) -> None:
    spec = Scenes(**CLEAR | {"clutter": clutter, "size": size, "objects": objects})
    whole = draw_scenes(spec, "train", np.arange(71))
    order = np.random.default_rng(0).permutation(71)
    for i in range(0, 71, batch):
        rows = order[i : i + batch]
        part = draw_scenes(spec, "train", rows)
        for name in ARRAYS:
            assert part[name].tobytes() == whole[name][rows].tobytes()
        for name in ("boxes", "classes", "captions"):
            assert np.array_equal(part[name], [whole[name][row] for row in rows])


@pytest.mark.parametrize("change", [{"seed": 1}, {"split": "test"}, {"clutter": "middle"}])
def test_another_seed_split_or_look_gives_other_images(change: dict) -> None:
    here, there = scenes()["image"], scenes(**change)["image"]
    assert (here != there).any((1, 2, 3)).all()


def test_no_two_images_are_equal(drawn: dict) -> None:
    assert len({image.tobytes() for image in drawn["image"]}) == len(drawn["image"])


def test_types_and_shapes(drawn: dict) -> None:
    num, size = drawn["image"].shape[:2]
    assert drawn["image"].dtype == np.uint8 and drawn["image"].shape == (num, size, size, 3)
    assert drawn["label"].dtype == np.int64 and drawn["label"].shape == (num,)
    for name in ("semantic", "instances"):
        assert drawn[name].dtype == np.uint8 and drawn[name].shape == (num, size, size)
    for boxes, classes in zip(drawn["boxes"], drawn["classes"], strict=True):
        assert boxes.dtype == np.float32 and classes.dtype == np.int64
        assert boxes.shape == (len(classes), 4)


def test_no_images_are_drawn_for_no_indices() -> None:
    none = scenes(0)
    assert none["image"].shape == (0, 32, 32, 3) and none["captions"] == []


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_class_is_equally_frequent_and_in_no_fixed_order(split: str) -> None:
    label = scenes(200, split)["label"]
    assert np.bincount(label).tolist() == [20] * 10
    assert len({tuple(tens) for tens in label.reshape(-1, 10).tolist()}) == 20


def test_boxes_are_tight_around_the_visible_parts(drawn: dict) -> None:
    for instances, boxes in zip(drawn["instances"], drawn["boxes"], strict=True):
        for k, box in enumerate(boxes):
            y, x = np.nonzero(instances == k + 1)
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_classes_instances_and_semantics_agree(drawn: dict) -> None:
    for i, classes in enumerate(drawn["classes"]):
        assert classes[0] == drawn["label"][i]
        names = np.array([0, *(classes + 1)])
        assert np.array_equal(names[drawn["instances"][i]], drawn["semantic"][i])


def test_three_objects_give_three_boxes() -> None:
    drawn = scenes(100, clutter="clutter", size=64, objects=3)
    assert {len(boxes) for boxes in drawn["boxes"]} == {3}
    assert set(np.concatenate(drawn["classes"])) == set(range(10))


def test_objects_overlap_little() -> None:
    # Boxes of neighbouring cells meet in a strip of at most 15 % of a cell to either side.
    for boxes in scenes(200, size=64, objects=4)["boxes"]:
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        shared = (high - low).clip(0).prod(-1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        np.fill_diagonal(shared, 0)
        assert (shared.sum(1) < 0.6 * area).all()


def test_a_colour_is_set_apart_exactly_and_stays_a_colour() -> None:
    colour, ground = np.random.default_rng(0).random((2, 3, 10_000), np.float32)
    moved = set_apart(colour, ground, 0.6)
    assert moved.dtype == np.float32
    assert np.abs(np.linalg.norm(moved - ground, axis=0) - 0.6).max() < 1e-5  # rounding
    assert moved.min() >= -1e-6 and moved.max() <= 1 + 1e-6


def test_the_main_object_stands_out_from_a_clear_ground() -> None:
    drawn = scenes(300)
    image, inside = drawn["image"] / 255, drawn["semantic"] > 0
    # Pixels at the outline are mixed: ask only those whose neighbours are of the same kind.
    kinds = np.stack([np.roll(inside, move, axis) for move in (-1, 1) for axis in (1, 2)])
    gaps = []
    for i in range(len(image)):
        core, rest = inside[i] & kinds[:, i].all(0), ~inside[i] & ~kinds[:, i].any(0)
        gaps.append(np.linalg.norm(image[i][core].mean(0) - image[i][rest].mean(0)))
    # .6 lies between the plain colour of the object and the mean of the whole ground; the part of
    # a texture and of a ground that can be asked differs from these by some hundredths.
    assert min(gaps) > 0.5 and abs(np.median(gaps) - 0.6) < 0.02


def test_a_lone_clear_object_is_whole_and_of_a_sensible_size() -> None:
    drawn = scenes(300)
    boxes = np.concatenate(drawn["boxes"])
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1)
    # Half-sizes of .54 to .77 of 16 pixels, stretched by up to 12 %, around outlines that are
    # between 1.4 and 2 half-sizes long.
    assert longer.min() >= 12 and longer.max() <= 28
    assert boxes.min() >= 0 and boxes.max() <= 32


def test_an_edge_is_one_pixel_wide() -> None:
    place, half = np.zeros((2, 1), np.float32), np.full((2, 1), 0.7, np.float32)
    disc = np.array([CLASSES.index("disc")])
    cover = stencils.coverage(disc, place, half, np.zeros(1, np.float32), 64)[0]
    row = cover[32]
    assert cover.min() == 0 and cover.max() == 1
    assert ((row > 0) & (row < 1)).sum() <= 4  # at most two pixels for each of two edges
    assert abs(cover.sum() - np.pi * (0.9 * 0.7 * 32) ** 2) < 3  # the area, in pixels


def test_silhouettes_fill_the_unit_circle_and_stay_in_it() -> None:
    tables = stencils.distances().reshape(-1, stencils.G, stencils.G)
    line = np.linspace(-1.25, 1.25, stencils.G)
    radius = np.hypot(line[None, :], line[:, None])
    for table in tables:
        assert radius[table < 0].max() <= 1.0 + 1e-6
        assert radius[table < 0].max() >= 0.85


def test_textures_have_mean_zero() -> None:
    tiles = stencils.textures().reshape(len(stencils.TEXTURES), -1)
    assert np.abs(tiles.mean(1)).max() < 1e-4 and np.abs(tiles).max() <= 1


def test_captions_name_classes_colours_sizes_and_places(drawn: dict) -> None:
    colours = "|".join(COLOURS)
    thing = rf"a ({'|'.join(SIZES)}) ({colours}) ({'|'.join(CLASSES)}) at the [a-z]+( [a-z]+)?"
    whole = re.compile(rf"{thing}( and {thing})* on a ({colours}) background")
    for caption, classes in zip(drawn["captions"], drawn["classes"], strict=True):
        assert whole.fullmatch(caption)
        named = [word for word in caption.split() if word in CLASSES]
        assert named == [CLASSES[k] for k in classes]


def test_captions_tell_the_place_of_the_object() -> None:
    drawn = scenes(300)
    for caption, (box,) in zip(drawn["captions"], drawn["boxes"], strict=True):
        x = (box[0] + box[2]) / 32 - 1
        # The word follows the centre of the stencil; a silhouette's box is off it by up to .2.
        assert x < 0.1 if "left" in caption else x > -0.1 if "right" in caption else abs(x) < 0.4


def test_every_colour_word_is_nearest_to_itself() -> None:
    assert nearest_colour(np.array(list(COLOURS.values())).T / 255).tolist() == list(COLOURS)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("clutter", "messy", "clear, middle, clutter"),
        ("objects", 0, "1 to 4"),
        ("objects", 5, "1 to 4"),
        ("size", 15, "16 to 1024"),
        ("size", 32.0, "integer"),
        ("train", -1, "0 to"),
        ("seed", "0", "integer"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(key: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"{key}: {value!r} .*{allowed}"):
        Scenes(**CLEAR | {key: value})


def test_an_unknown_split_and_an_index_beyond_it_are_refused() -> None:
    with pytest.raises(ValueError, match="split: 'val' is not one of train, test"):
        scenes(split="val")
    with pytest.raises(ValueError, match="999 to 1000, but test has 1000 images"):
        draw_scenes(Scenes(**CLEAR), "test", np.array([999, 1000]))


def test_drawing_needs_numpy_alone() -> None:
    probe = (
        "import sys, mimflow.data.scenes; print(*{'torch', 'PIL', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == ""
