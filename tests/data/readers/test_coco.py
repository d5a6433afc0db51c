"""Boxes, polygons and run lengths come out as COCO's own code reads them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.packing import in_folder, in_zip, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from mimflow.data.readers.runlengths import mask_of, run_lengths
from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import Wanted, open_source

SHAPE = (6, 8)
SQUARE = [[1.0, 1.0, 5.0, 1.0, 5.0, 4.0, 1.0, 4.0]]


def decoded(counts: bytes | str) -> np.ndarray:
    """uint8 (6, 8), by COCO's own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it hands numpy an old interface
        return mask.decode({"size": list(SHAPE), "counts": counts})


def table(annotations: list[dict[str, Any]], name: str = "a.png", **changes: Any) -> bytes:
    image = {"id": 7, "file_name": name, "height": 6, "width": 8} | changes
    categories = [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}]
    return json.dumps(
        {"images": [image], "annotations": annotations, "categories": categories}
    ).encode()


def box(category: int = 3, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": category, "bbox": [1, 2, 3, 1.5], **more}


@pytest.mark.parametrize("pack", [in_folder, in_zip])
def test_boxes_are_corners_and_classes_have_no_gaps(pack: Any, tmp_path: Path) -> None:
    tree = {
        "set/images/val/a.png": picture(1),
        "set/annotations/instances_val2017.json": table([box(9), box(3, iscrowd=1)]),
    }
    source = open_source(pack(tree, tmp_path / "x.zip"))
    assert source.kind.split()[0] == "coco" and source.splits == ("val",)
    assert source.about == {"categories": ["cat", "dog"], "category_ids": [3, 9]}
    [record] = source.records()
    assert record.data() == picture(1) and record.shape == SHAPE and record.label == -1
    assert record.annotations() == {
        "boxes": [[1, 2, 4, 3.5]] * 2,
        "classes": [1, 0],
        "crowd": [False, True],
    }


def test_pictures_beside_their_table_and_pictures_without_annotations(tmp_path: Path) -> None:
    tree = {
        "train/_annotations.coco.json": table([]),
        **{"train/a.png": picture(1), "valid/a.png": picture(2), "train/b.png": picture(3)},
        "valid/_annotations.coco.json": table([box()]),
    }
    source = open_source(in_folder(tree, tmp_path))
    found = {r.name: (r.split, len(r.annotations()["boxes"])) for r in source.records()}
    assert found == {"train/a.png": ("train", 0), "valid/a.png": ("val", 1)}
    assert source.ignored == {".png without annotations": 1}


def test_outlines_of_every_form_are_one_mask(tmp_path: Path) -> None:
    packed = mask.merge(mask.frPyObjects(SQUARE, *SHAPE))
    plain = np.flatnonzero(
        np.diff(decoded(packed["counts"]).reshape(-1, order="F"), prepend=0)
    ).tolist()
    counts = np.diff([0, *plain, 48]).tolist()
    outlines = [
        SQUARE,
        {"counts": packed["counts"].decode(), "size": list(SHAPE)},
        {"counts": counts, "size": list(SHAPE)},
    ]
    tree = {
        "images/a.png": picture(1),
        "annotations/x.json": table([box(segmentation=each) for each in outlines] + [box()]),
    }
    [record] = open_source(in_folder(tree, tmp_path)).records()
    segments = record.annotations()["segments"]
    masks = [decoded(each) for each in segments]
    assert all(np.array_equal(found, decoded(packed["counts"])) for found in masks[:3])
    assert masks[0].any() and not masks[3].any()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=48, max_size=48))
def test_compressed_run_lengths_are_kept(bits: list[int]) -> None:
    values = np.asfortranarray(np.array(bits, np.uint8).reshape(SHAPE))
    packed = mask.encode(values)["counts"]
    found = run_lengths({"counts": packed.decode(), "size": list(SHAPE)}, SHAPE)
    assert np.array_equal(decoded(found), values)
    assert np.array_equal(mask_of(found, SHAPE), values)


@pytest.mark.parametrize(
    "outline",
    [
        {"counts": [10, 100], "size": [6, 8]},
        {"counts": [-1, 49], "size": [6, 8]},
        {"counts": "PPYoo1", "size": [6, 8]},
        {"counts": "0o", "size": [6, 8]},
        {"counts": [48], "size": [60, 80]},
        {"counts": None},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 1e300]],
        [["a"] * 6],
    ],
)
def test_outlines_beyond_the_picture_are_refused(outline: Any) -> None:
    with pytest.raises(ValueError, match=r"run lengths|polygon"):
        run_lengths(outline, SHAPE)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (box(4), "annotation 1: no category 4"),
        ({**box(), "bbox": [1, 2]}, "annotation 1: no box of four numbers"),
        (box(segmentation={"counts": [3], "size": [6, 8]}), "annotation 1: the run lengths"),
    ],
)
def test_a_wrong_annotation_is_an_error_of_its_picture(
    entry: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tree = {"images/a.png": picture(1), "annotations/x.json": table([entry])}
    [record] = open_source(in_folder(tree, tmp_path)).records()
    assert record.data()
    with pytest.raises(ValueError, match=message):
        record.annotations()


def test_a_missing_and_an_ambiguous_picture_are_named(tmp_path: Path) -> None:
    tree = {"images/b.png": picture(1), "annotations/x.json": table([box()])}
    [record] = open_source(in_folder(tree, tmp_path / "1")).records()
    with pytest.raises(ValueError, match="no such file"):
        record.data()
    tree = {"u/a.png": b"", "v/a.png": b"", "annotations/x.json": table([box()])}
    with pytest.raises(ValueError, match=r"'a\.png' may be 'u/a\.png' or 'v/a\.png'"):
        open_source(in_folder(tree, tmp_path / "2"))


def test_a_folder_that_is_no_coco_says_so(tmp_path: Path) -> None:
    tree = {"images/b.png": picture(1), "annotations/x.json": b"[]"}
    with pytest.raises(ValueError, match="holds nothing of the kind 'coco'"):
        open_source(in_folder(tree, tmp_path), Wanted("coco"))


def test_a_picture_without_objects_keeps_the_forms_of_its_annotations(tmp_path: Path) -> None:
    tables = {"a": table([box(segmentation=SQUARE)]), "b": table([], "b.png")}
    tree = {f"images/{name}.png": picture(i) for i, name in enumerate(tables)}
    tree |= {f"annotations/{name}.json": data for name, data in tables.items()}
    source = open_source(in_folder(tree, tmp_path / "in"))
    write_part(source, tmp_path, 0, 1, 1, 0.0, 10_000)
    merge(source, tmp_path, tmp_path / "index.json", tmp_path / "audit.json", 1, 0)
    shards = Shards(tmp_path / "index.json", tmp_path, "train")
    for i, count in ((0, 1), (1, 0)):
        found = shards.annotations(i)
        assert found["boxes"].shape == (count, 4) and found["boxes"].dtype == np.float32
        assert found["classes"].shape == found["crowd"].shape == (count,)
        assert found["crowd"].dtype == bool and len(found["segments"]) == count
