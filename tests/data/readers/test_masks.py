"""Pictures find their masks; values are kept, unknown ones refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from data.packing import in_folder, in_zip, mask, picture
from PIL import Image

from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import Source, Wanted, open_source

VALUES = np.arange(48).reshape(6, 8) % 3
CLASSES = {"ignore_index": 11, "classes": [{"id": i, "name": f"c{i}"} for i in range(3)]}


def tree(folder: str = "masks", form: str = "images/{}/x.jpg") -> dict[str, bytes]:
    files = {}
    for split in ("train", "val"):
        name = form.format(split)
        files[name] = picture(1, "JPEG")
        files[name.replace("images", folder).replace(".jpg", ".png")] = mask(VALUES)
    return files


def sharded(source: Source, folder: Path, bad: float = 0.0) -> Path:
    write_part(source, folder, 0, 1, 1, 0.1, 10_000)
    merge(source, folder, folder / "index.json", folder / "audit.json", 1, bad)
    return folder


@pytest.mark.parametrize("folder", ["masks", "labels", "annotations"])
@pytest.mark.parametrize("form", ["images/{}/x.jpg", "{}/images/x.jpg", "set/images/{}/x.jpg"])
def test_masks_are_found_in_any_usual_folder(folder: str, form: str, tmp_path: Path) -> None:
    source = open_source(in_folder(tree(folder, form), tmp_path))
    assert (source.kind, source.splits) == ("masks", ("train", "val"))
    assert source.about == {"semantic": {"classes": None, "ignore": 255}}
    for record in source.records():
        assert record.data() == picture(1, "JPEG")
        assert record.annotations() == {"semantic_png": mask(VALUES)}


def test_classes_and_the_ignored_value_are_those_of_the_source(tmp_path: Path) -> None:
    files = tree() | {"classes.json": json.dumps(CLASSES).encode()}
    path = in_zip(files, tmp_path / "x.zip")
    assert open_source(path).about["semantic"] == {"classes": ["c0", "c1", "c2"], "ignore": 11}
    assert open_source(path, Wanted(ignore_value=2)).about["semantic"]["ignore"] == 2
    folder = sharded(open_source(path), tmp_path / "out")
    shards = Shards(folder / "index.json", folder, "val")
    assert np.array_equal(shards.annotations(0)["semantic"], VALUES)
    index = json.loads((folder / "index.json").read_bytes())
    assert index["about"]["semantic"]["ignore"] == 11


def palette() -> bytes:
    image, file = Image.fromarray(VALUES.astype(np.uint8)).convert("P"), io.BytesIO()
    image.putdata(VALUES.reshape(-1).tolist())
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(file, "PNG")
    return file.getvalue()


def test_of_a_palette_the_numbers_count(tmp_path: Path) -> None:
    files = tree() | {"masks/val/x.png": palette()}
    folder = sharded(open_source(in_folder(files, tmp_path / "in")), tmp_path / "out")
    shards = Shards(folder / "index.json", folder, "val")
    assert np.array_equal(shards.annotations(0)["semantic"], VALUES)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (mask(VALUES + 9), "mask 'masks/val/x.png' has the value 10; known are 0 to 2 and 11"),
        (mask(VALUES.T), "annotated for 6 x 8 pixels, but the upright picture has 8 x 6"),
        (picture(1), "mask 'masks/val/x.png' has the mode RGB; one channel of 8 bits"),
        (picture(1, "JPEG"), "mask 'masks/val/x.png' cannot be read"),
        (mask(VALUES)[:40], "mask 'masks/val/x.png' cannot be read"),
        (None, "no mask: none of the folders masks, labels"),
    ],
)
def test_a_mask_that_does_not_fit_puts_its_picture_aside(
    data: bytes | None, reason: str, tmp_path: Path
) -> None:
    files = tree() | {"classes.json": json.dumps(CLASSES).encode(), "masks/val/x.png": data}
    kept = {name: data for name, data in files.items() if data is not None}
    folder = sharded(open_source(in_folder(kept, tmp_path / "in")), tmp_path / "out", 0.5)
    audit = json.loads((folder / "audit.json").read_bytes())
    assert (audit["found"], audit["sharded"], audit["quarantined"]) == (2, 1, 1)
    assert audit["broken"][0]["reason"].startswith(reason)


def test_a_wrong_table_of_classes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'classes\.json' is not of the form"):
        open_source(in_folder(tree() | {"classes.json": b'{"classes": 3}'}, tmp_path))


def test_pictures_without_masks_are_an_imagefolder(tmp_path: Path) -> None:
    names = ["images/1.png", "images/2.png", "images/3.png", "masks/1.png"]
    source = open_source(in_folder({name: picture(1) for name in names}, tmp_path))
    assert source.kind == "imagefolder"
