"""Pictures scaled at sharding keep their look and their annotations, others their bytes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.packing import in_folder, mask, picture
from PIL import Image

from mimflow.data.augment import finish
from mimflow.data.decode import decode, format_of
from mimflow.data.readers.runlengths import mask_of
from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.stored import Stored
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import open_source

LIMIT = 100_000


def smooth(kind: str, height: int, width: int, **options: Any) -> bytes:
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    file = io.BytesIO()
    pixels = np.stack([across, down, 255 - across], -1).astype(np.uint8)
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def sharded(tree: dict[str, bytes], folder: Path, stored: Stored, bad: float = 0) -> Shards:
    source = open_source(in_folder(tree, folder / "in"))
    write_part(source, folder, 0, 1, 2, 0.0, stored)
    merge(source, folder, folder / "index.json", folder / "audit.json", 2, bad)
    return Shards(folder / "index.json", folder, "train")


def by_name(shards: Shards) -> dict[str, int]:
    return {shards.name(i): i for i in range(len(shards))}


FILES = {
    "wide.jpg": smooth("JPEG", 60, 100),
    "tall.png": smooth("PNG", 90, 50),
    "large.webp": smooth("WEBP", 64, 64),
    "large.bmp": smooth("BMP", 48, 64),
    "exact.jpg": smooth("JPEG", 32, 99),
    "small.png": smooth("PNG", 9, 200),
}


def test_larger_pictures_are_scaled_and_smaller_keep_their_bytes(tmp_path: Path) -> None:
    shards = sharded(FILES, tmp_path, Stored(LIMIT, short_side=32, quality=95))
    places = by_name(shards)
    shapes = {name: shards.shape(i) for name, i in places.items()}
    assert shapes == {
        **{"wide.jpg": (32, 53), "tall.png": (58, 32), "large.webp": (32, 32)},
        **{"large.bmp": (32, 43), "exact.jpg": (32, 99), "small.png": (9, 200)},
    }
    forms = {name: format_of(bytes(shards.image(i))) for name, i in places.items()}
    assert [forms[f] for f in ("wide.jpg", "large.webp", "tall.png", "large.bmp")] == [
        *("JPEG", "JPEG", "PNG", "PNG")
    ]
    for name in ("exact.jpg", "small.png"):
        assert bytes(shards.image(places[name])) == FILES[name]
    for name, i in places.items():
        height, width = shards.shape(i)
        whole = Image.fromarray(decode(FILES[name], LIMIT))
        expected = np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC))
        found = shards.pixels(i, LIMIT)
        worst = np.abs(found.astype(int) - expected).mean()
        assert worst == 0 if forms[name] == "PNG" else worst < 4  # JPEG of quality 95, half chroma


def test_of_several_jpegs_in_a_file_the_first_stays_a_jpeg(tmp_path: Path) -> None:
    pictures = [Image.open(io.BytesIO(smooth("JPEG", 60, 90, quality=q))) for q in (90, 50)]
    file = io.BytesIO()
    pictures[0].save(file, "MPO", save_all=True, append_images=pictures[1:])
    assert format_of(file.getvalue()) == "MPO"
    shards = sharded({"phone.jpg": file.getvalue()}, tmp_path, Stored(LIMIT, short_side=32))
    assert shards.shape(0) == (32, 48) and format_of(bytes(shards.image(0))) == "JPEG"


def test_given_moments_stand_in_the_index(tmp_path: Path) -> None:
    source = open_source(in_folder(FILES, tmp_path / "in"))
    write_part(source, tmp_path, 0, 1, 2, 0.0, Stored(LIMIT))
    given = [0.5, 0.4, 0.3], [0.2, 0.1, 0.3]
    merge(source, tmp_path, tmp_path / "index.json", tmp_path / "audit.json", 2, 0, given)
    shards = Shards(tmp_path / "index.json", tmp_path, "train")
    assert (shards.mean, shards.std) == given


def test_a_channel_that_never_changes_is_shifted_alone(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels[..., 2] = 51
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    shards = sharded({"x.png": file.getvalue()}, tmp_path, Stored(LIMIT))
    assert (shards.mean[2], shards.std[2]) == (0.2, 1.0) and shards.std[0] < 0.5
    batch = {"image": torch.from_numpy(pixels[None])}
    seen = finish(shards.mean, shards.std, torch.device("cpu"))(batch)["image"]
    assert seen.isfinite().all() and seen[:, 2].abs().max() < 1e-6


def test_the_moments_are_those_of_what_is_stored(tmp_path: Path) -> None:
    shards = sharded(FILES, tmp_path, Stored(LIMIT, short_side=32))
    pixels = [shards.pixels(i, LIMIT).reshape(-1, 3) / 255 for i in range(len(shards))]
    assert np.allclose(shards.mean, np.concatenate(pixels).mean(0), atol=1e-6)


def test_copies_are_found_by_what_they_were(tmp_path: Path) -> None:
    tree = {"a.png": picture(1, "PNG", (40, 40)), "b.bmp": picture(1, "BMP", (40, 40))}
    sharded(tree, tmp_path, Stored(LIMIT, short_side=8))
    assert json.loads((tmp_path / "audit.json").read_bytes())["duplicates"]["groups"] == 1


def test_annotations_are_scaled_with_their_picture(tmp_path: Path) -> None:
    values = np.zeros((40, 80))
    values[10:20, 40:60] = 3
    square = [[40, 10, 60, 10, 60, 20, 40, 20]]
    table = {
        "images": [{"id": 1, "file_name": "x.png", "height": 40, "width": 80}],
        "categories": [{"id": 5, "name": "thing"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 5, "bbox": [40, 10, 20, 10]}
            | {"segmentation": square}
        ],
    }
    tree = {
        **{"images/x.png": picture(1, "PNG", (40, 80)), "semantic/x.png": mask(values)},
        "annotations/instances.json": json.dumps(table).encode(),
    }
    shards = sharded(tree, tmp_path, Stored(LIMIT, short_side=20))
    found = shards.annotations(0)
    assert shards.shape(0) == found["semantic"].shape == (20, 40)
    assert found["boxes"].tolist() == [[20, 5, 30, 10]]
    expected = np.zeros((20, 40))
    expected[5:10, 20:30] = 1
    assert np.array_equal(found["semantic"], expected * 3)
    assert np.array_equal(mask_of(found["segments"][0]["counts"], (20, 40)), expected)


def test_one_channel_and_sixteen_bits_reach_the_index(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (300, 70), dtype=np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    shards = sharded({"a.png": file.getvalue()}, tmp_path, Stored(LIMIT, 1 << 20, 1, 16))
    index = json.loads((tmp_path / "index.json").read_bytes())
    assert (index["channels"], index["bit_depth"]) == (1, 16)
    assert np.allclose(shards.mean, values.mean() / 65535, atol=1e-6)
    assert np.allclose(shards.std, values.std() / 65535, atol=1e-6)


def test_a_file_of_too_many_bytes_is_put_aside(tmp_path: Path) -> None:
    tree = {"a.png": picture(1), "b.png": picture(2) + bytes(1000)}
    shards = sharded(tree, tmp_path, Stored(LIMIT, max_bytes=500), 0.5)
    assert by_name(shards) == {"a.png": 0}
    [broken] = json.loads((tmp_path / "audit.json").read_bytes())["broken"]
    assert broken["reason"].endswith("bytes, more than the 500 that a file may have")


def test_raw_pixels_are_not_scaled(tmp_path: Path) -> None:
    text = "{kind: scenes, seed: 0, train: 5, test: 1, size: 16, clutter: clear, objects: 1}"
    (tmp_path / "s.yaml").write_text(text)
    source = open_source(str(tmp_path / "s.yaml"))
    with pytest.raises(ValueError, match=r"data\.short_side 8, .* holds no picture files"):
        write_part(source, tmp_path / "out", 0, 1, 1, 0.1, Stored(LIMIT, short_side=8))
