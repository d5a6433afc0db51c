"""Shapes become clouds of the asked size, with the splits and classes of their folders."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.packing import in_folder, in_zip

from mimflow.data.readers.record import Wanted
from mimflow.data.sources import open_source

OFF = b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
CLOUD = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def values(record: Any) -> np.ndarray:
    return np.frombuffer(record.data(), "<f4").reshape(record.shape)


@pytest.mark.parametrize("pack", [in_folder, in_zip])
def test_splits_may_stand_below_the_classes(pack: Any, tmp_path: Path) -> None:
    names = [f"Net/{c}/{split}/{c}_1.off" for c in ("bed", "sofa") for split in ("train", "test")]
    tree = dict.fromkeys(names, OFF) | {"Net/README.txt": b""}
    source = open_source(pack(tree, tmp_path / "x.zip"))
    assert source.kind.split()[0] == "points" and source.encoding == "points"
    assert source.label_names == ["bed", "sofa"] and source.splits == ("train", "test")
    assert source.ignored == {".txt": 1}
    for record in source.records():
        assert record.split == record.name.split("/")[-2] and values(record).shape == (1024, 3)
        assert source.label_names[record.label] == record.name.split("/")[-3]


def test_clouds_keep_their_points_and_normals(tmp_path: Path) -> None:
    tree = {
        "a/1.npz": npz(points=CLOUD),
        "b/2.npz": npz(points=CLOUD[:, :3], normals=CLOUD[:, 3:]),
    }
    path = in_folder(tree, tmp_path)
    for record in open_source(path, Wanted(num_points=50, normals=True)).records():
        assert np.array_equal(values(record), CLOUD)
    for record in open_source(path, Wanted(num_points=50)).records():
        assert np.array_equal(values(record), CLOUD[:, :3])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (npz(points=CLOUD[:9]), "9 points, fewer than"),
        (npz(points=CLOUD[:, :3]), "no normals"),
        (npz(points=CLOUD * np.nan), "not finite"),
        (npz(points=CLOUD[0]), "shape .6,.; allowed"),
        (npz(cloud=CLOUD), "no array `points` .*found: cloud"),
        (npz(points=np.array([{}], dtype=object)), "no .npz of plain arrays"),
        (b"", "no .npz of plain arrays"),
    ],
)
def test_a_cloud_that_does_not_fit_is_an_error_of_its_own(
    data: bytes, reason: str, tmp_path: Path
) -> None:
    path = in_folder({"a/1.npz": data, "b/1.npz": npz(points=CLOUD)}, tmp_path)
    broken, sound = open_source(path, Wanted(num_points=50, normals=True)).records()
    assert values(sound).shape == (50, 6)
    with pytest.raises(ValueError, match=reason):
        broken.data()


def test_one_file_may_hold_every_cloud(tmp_path: Path) -> None:
    clouds = np.stack([CLOUD, -CLOUD, 2 * CLOUD]).astype(np.float16)
    (tmp_path / "x.npz").write_bytes(
        npz(
            train_points=clouds[:2],
            **{"train_labels": [1, 0], "train_names": ["b/2", "a/1"], "test_points": clouds[2:]},
            **{"test_labels": [0], "test_names": ["a/1"], "class_names": ["a", "b"]},
        )
    )
    source = open_source(str(tmp_path / "x.npz"), Wanted(num_points=50, normals=True))
    assert source.names == ["test/a/1", "train/a/1", "train/b/2"]
    assert [record.label for record in source.records()] == [0, 0, 1]
    for record, i in zip(source.records(), (2, 1, 0), strict=True):
        assert np.array_equal(values(record), clouds[i].astype(np.float32))
