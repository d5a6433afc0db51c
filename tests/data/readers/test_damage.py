"""Damaged files of every kind are a ValueError of one line, or read: nothing else is raised."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.packing import Tree, in_folder, in_tar, mask, picture

from mimflow.data.sources import open_source

COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
    "categories": [{"id": 1, "name": "x"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": outline}
        for outline in ([[1, 1, 5, 1, 5, 4]], {"counts": [10, 38], "size": [6, 8]})
    ],
}
CLASSES = {"ignore_index": 255, "classes": [{"id": 0, "name": "a"}]}
OFF = b"OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n3 0 1 2\n3 1 2 3\n"
PLY = (
    b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
    b"property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
)


def parquet() -> bytes:
    file, table = (
        io.BytesIO(),
        pa.table({"image": [picture(i) for i in range(9)], "label": [0] * 9}),
    )
    pq.write_table(table, file, row_group_size=3)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, train_points=np.ones((3, 1024, 3)), train_labels=np.arange(3))
    return file.getvalue()


def tar(folder: Path) -> bytes:
    tree = {
        f"{i}.{ext}": data for i in range(3) for ext, data in [("png", picture(i)), ("cls", b"1")]
    }
    return Path(in_tar(tree | {"0.json": b'{"label": 2}'}, folder / "whole.tar")).read_bytes()


def whole(kind: str, folder: Path) -> tuple[Tree, str]:
    """The files of a sound source, and the one that is damaged."""
    if kind == "coco":
        return {"images/a.png": picture(1), "annotations/x.json": json.dumps(COCO).encode()}, (
            "annotations/x.json"
        )
    if kind == "masks":
        values, table = mask(np.zeros((6, 8))), json.dumps(CLASSES).encode()
        tree = {"images/a.png": picture(1), "masks/a.png": values, "classes.json": table}
        return tree, "classes.json"
    single = {
        "x.parquet": parquet,
        "x.npz": npz,
        "x.tar": lambda: tar(folder),
        "x.csv": lambda: b"path,label,split,group\na.png,x,train,1\nb.png,y,test,2\n",
        "x.off": lambda: OFF,
        "x.ply": lambda: PLY,
    }
    return {kind: single[kind]()}, kind


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["x.parquet", "x.npz", "x.tar", "x.csv", "x.off", "x.ply", "coco", "masks"]
)
def test_damage_is_a_value_error_of_one_line_or_reads(kind: str, tmp_path: Path) -> None:
    tree, victim = whole(kind, tmp_path)
    random, marks = np.random.default_rng(0), b'0123456789-[]{}",: \n'
    for _ in range(60):
        data = bytearray(tree[victim])
        if random.random() < 0.2:
            data = data[: 1 + random.integers(len(data))]
        for at in random.integers(0, len(data), random.integers(1, 4)):
            data[at] = random.integers(256) if random.random() < 0.6 else random.choice([*marks])
        path = in_folder(tree | {victim: bytes(data)}, tmp_path / "x")
        alone = kind.endswith(("parquet", "npz", "tar", "csv"))
        try:
            for record in open_source(f"{path}/{kind}" if alone else path).records():
                with suppress(ValueError):
                    record.data()
                with suppress(ValueError):
                    record.annotations()
        except ValueError as error:  # anything else fails the test
            assert "\n" not in str(error)
