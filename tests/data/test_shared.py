"""Every real archive shards whole, and gives back what its files hold, record by record."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools import mask

from mimflow.data.meshes import parse_obj, parse_off
from mimflow.data.readers.runlengths import mask_of
from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.stored import Stored
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import Source, Wanted, open_source

LIMIT = 50_000_000
COUNTS = {
    "camvid.zip": ("masks in zip", {"train": 367, "val": 101, "test": 233}),
    "coco_mini.zip": ("coco in zip", {"train": 100, "val": 100}),
    "bccd_coco.zip": ("coco in zip", {"train": 205, "val": 87, "test": 72}),
    "imagenet_photos.zip": ("imagefolder in zip", {"train": 204, "test": 19}),
    "mesh_samples.zip": ("points in zip", {"train": 22, "test": 3}),
    "shapes3d_1024.npz": ("points", {"train": 1977, "test": 493}),
    "tiny_imagenet_sub.zip": ("imagefolder in zip", {"train": 16_000, "val": 3_000}),
    "cifar10.zip": ("imagefolder in zip", {"train": 50_000, "test": 10_000}),
}


def sharded(source: Source, folder: Path, bad: float = 0.0) -> tuple[dict[str, Any], list[Shards]]:
    assert source.names == sorted(set(source.names))
    write_part(source, folder, 0, 1, 3, 0.1, Stored(LIMIT, 100_000_000))
    merge(source, folder, folder / "index.json", folder / "audit.json", 3, bad)
    audit = json.loads((folder / "audit.json").read_bytes())
    assert audit["found"] == audit["sharded"] + audit["quarantined"]
    return audit, [Shards(folder / "index.json", folder, split) for split in audit["splits"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_the_counts_are_those_of_the_readme(name: str, shared_data: Path, tmp_path: Path) -> None:
    source = open_source(str(shared_data / name), Wanted(normals=name.endswith("npz")))
    audit, splits = sharded(source, tmp_path)
    assert (audit["kind"], audit["splits"], audit["quarantined"]) == (*COUNTS[name], 0)
    if name.endswith("npz"):
        return
    seen = 0
    with zipfile.ZipFile(shared_data / name) as packed:
        names = {each.encode("utf-8", "surrogateescape").decode() for each in packed.namelist()}
        for shards in splits:
            for i in range(len(shards)):
                if source.encoding == "file":
                    [full] = {shards.name(i), f"train/{shards.name(i)}"} & names
                    assert bytes(shards.image(i)) == packed.read(full)
                    if shards.label_names:
                        assert shards.label_names[shards.label(i)] == full.split("/")[1]
                    seen += 1
    assert seen == (0 if source.encoding == "points" else audit["found"])


def records(shards: list[Shards]) -> dict[str, tuple[Shards, int]]:
    return {each.name(i): (each, i) for each in shards for i in range(len(each))}


def outline_mask(outline: Any, shape: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W), by COCO's own code."""
    packed = mask.frPyObjects(outline, *shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it hands numpy an old interface
        return mask.decode(mask.merge(packed) if isinstance(packed, list) else packed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "table", "crowd"),
    [("coco_mini.zip", "instances", 11), ("bccd_coco.zip", "boxes", 0)],
)
def test_boxes_and_masks_are_those_of_the_tables(
    name: str, table: str, crowd: int, shared_data: Path, tmp_path: Path
) -> None:
    audit, splits = sharded(open_source(str(shared_data / name)), tmp_path)
    about = json.loads((tmp_path / "index.json").read_bytes())["about"]
    where, seen, crowds = records(splits), 0, 0
    with zipfile.ZipFile(shared_data / name) as packed:
        for split in audit["splits"]:
            facts = json.loads(packed.read(f"annotations/{table}_{split}.json"))
            for image in facts["images"]:
                path = f"images/{split}/{image['file_name']}"
                shards, i = where[path]
                found, shape = shards.annotations(i), (image["height"], image["width"])
                mine = [a for a in facts["annotations"] if a["image_id"] == image["id"]]
                box = np.array([a["bbox"] for a in mine]).reshape(-1, 4)
                box[:, 2:] += box[:, :2]
                assert np.array_equal(found["boxes"], box.astype(np.float32))
                ids = [about["category_ids"][c] for c in found["classes"]]
                assert ids == [a["category_id"] for a in mine]
                assert found["crowd"].tolist() == [bool(a["iscrowd"]) for a in mine]
                for segment, a in zip(found.get("segments", []), mine, strict=table != "boxes"):
                    assert segment["size"] == list(shape) == list(shards.shape(i))
                    expected = outline_mask(a["segmentation"], shape)
                    assert np.array_equal(mask_of(segment["counts"], shape), expected)
                if table == "instances":
                    path = f"semantic/{split}/{Path(image['file_name']).stem}.png"
                    values = np.asarray(Image.open(io.BytesIO(packed.read(path))))
                    assert np.array_equal(found["semantic"], values)
                seen, crowds = seen + len(mine), crowds + int(found["crowd"].sum())
    assert (seen, crowds) == ({"instances": 746 + 712, "boxes": 2804 + 1137 + 945}[table], crowd)


@pytest.mark.slow
def test_masks_are_those_of_the_files(shared_data: Path, tmp_path: Path) -> None:
    _, splits = sharded(open_source(str(shared_data / "camvid.zip")), tmp_path)
    about = json.loads((tmp_path / "index.json").read_bytes())["about"]["semantic"]
    assert about["ignore"] == 11 and len(about["classes"]) == 11 and about["classes"][0] == "sky"
    values: set[int] = set()
    with zipfile.ZipFile(shared_data / "camvid.zip") as packed:
        for name, (shards, i) in records(splits).items():
            path = name.replace("images/", "masks/").replace(".jpg", ".png")
            found = shards.annotations(i)["semantic"]
            assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(packed.read(path)))))
            assert found.shape == shards.shape(i) == (360, 480)
            values |= set(np.unique(found).tolist())
    assert values == set(range(12))


def test_clouds_are_those_of_the_file(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "shapes3d_1024.npz"
    _, splits = sharded(open_source(str(path), Wanted(normals=True)), tmp_path)
    arrays, where = np.load(path), records(splits)
    for split in ("train", "test"):
        clouds, labels = arrays[f"{split}_points"], arrays[f"{split}_labels"]
        for row, name in enumerate(arrays[f"{split}_names"]):
            shards, i = where.pop(f"{split}/{name}")
            found = np.frombuffer(shards.image(i), "<f4").reshape(shards.shape(i))
            assert np.array_equal(found, clouds[row].astype(np.float32))
            assert shards.label(i) == labels[row]
            assert shards.label_names[labels[row]] == arrays["class_names"][labels[row]]
    assert not where


def test_points_of_real_meshes_lie_on_them(shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / "mesh_samples.zip") as packed:
        for record in open_source(str(shared_data / "mesh_samples.zip")).records():
            found = np.frombuffer(record.data(), "<f4").reshape(1024, 3)
            parse = parse_off if record.name.endswith(".off") else parse_obj
            corners = parse(packed.read(record.name)).points
            slack = 1e-5 * np.abs(corners).max()
            assert (found >= corners.min(0) - slack).all()
            assert (found <= corners.max(0) + slack).all()
            assert len(np.unique(found, axis=0)) > 1000


BROKEN = {
    **dict.fromkeys(["truncated_half.jpg", "no_end_marker.jpg", "truncated.png"], "truncated"),
    "truncated_header.jpg": "Truncated File Read",
    "zero_byte.jpg": "the file is empty",
    **dict.fromkeys(["text_renamed.jpg", "html_error_page.jpg", "zero_width.png"], "no picture"),
    "bad_checksum.png": "unrecognized data stream",
    "huge_claim.png": "100000 x 100000 pixels, more than max_pixels",
    "large_claim.png": "12000 x 12000 pixels, more than max_pixels",
    "true_81_megapixels.png": "9000 x 9000 pixels, more than max_pixels",  # sound, but too large
}
LEFT = {".hidden.jpg", "._good_rgb.jpg", "list/labels.csv"}  # no pictures to look at: counted


def viewed(data: bytes) -> np.ndarray:
    """uint8 (H, W, 3) of a picture that is neither transparent nor of more than 8 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def test_each_of_the_bad_images_is_decoded_right_or_named(
    shared_data: Path, tmp_path: Path
) -> None:
    path = shared_data / "bad_images.zip"
    audit, splits = sharded(open_source(str(path)), tmp_path, 0.3)
    broken = {each["name"]: each["reason"] for each in audit["broken"]}
    assert broken.keys() == BROKEN.keys()
    assert all(BROKEN[name] in reason for name, reason in broken.items())
    assert audit["ignored"] == {"hidden": 2, ".csv": 1, ".json": 1}  # the manifest is the .json
    where = records(splits)
    with zipfile.ZipFile(path) as packed:
        manifest = json.loads(packed.read("manifest.json"))["files"]
        assert len(manifest) == 58 == len(where) + len(BROKEN) + len(LEFT)
        for entry in manifest:
            name = entry["file"]
            if name in {*BROKEN, *LEFT}:
                continue
            if "raw_name_hex" in entry:
                name = bytes.fromhex(entry["raw_name_hex"]).decode("utf-8", "backslashreplace")
            shards, i = where.pop(name)
            assert bytes(shards.image(i)) == packed.read(entry["file"])
            found, pillow = shards.pixels(i, LIMIT), entry["pillow"]
            width, height = pillow["size"]
            turned = pillow.get("exif_orientation", 1) >= 5
            assert found.shape == ((width, height, 3) if turned else (height, width, 3))
            if pillow["mode"] in ("L", "RGB", "CMYK", "1") or name == "palette.png":
                assert np.array_equal(found, viewed(packed.read(entry["file"])))
    assert not where
