"""A tar of samples gives pictures with the labels and captions that stand beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from data.packing import Tree, in_folder, in_tar, picture

from mimflow.data.sources import Wanted, open_source


def samples(first: int, count: int = 3) -> Tree:
    tree: Tree = {}
    for i in range(first, first + count):
        tree |= {f"{i:04d}.jpg": picture(i, "JPEG"), f"{i:04d}.cls": str(i % 2).encode()}
    return tree


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_files_of_one_name_are_one_sample(name: str, tmp_path: Path) -> None:
    tree = samples(0) | {"0001.txt": b"a cat\n", "0002.json": b'{"caption": "a dog"}'}
    source = open_source(in_tar(tree, tmp_path / name))
    assert (source.kind, source.names) == ("webdataset", ["0000", "0001", "0002"])
    assert source.label_names == ["0", "1"] and source.annotations == ("caption",)
    found = list(source.records())
    assert [record.data() for record in found] == [tree[f"000{i}.jpg"] for i in range(3)]
    assert [record.label for record in found] == [0, 1, 0]
    assert [r.annotations()["caption"] for r in found] == [None, "a cat", "a dog"]


def test_a_name_ends_at_the_first_dot_of_its_base(tmp_path: Path) -> None:
    tree = {"a.b/1.seg.png": b"", "a.b/1.png": picture(1), "a.b/1.cls": b"dog", "2.cls": b"cat"}
    source = open_source(in_tar(tree, tmp_path / "x.tar"))
    assert source.names == ["a.b/1"] and source.label_names == ["dog"]
    assert source.ignored == {".seg.png": 1, "no picture in the sample": 1}


@pytest.mark.parametrize(
    ("files", "numbers"),
    [
        (None, [0, 1, 2, 3]),
        ("train-{00..01}.tar", [0, 1]),
        ("train-{01..02}.tar", [1, 2]),
        ("test-*.tar", [3]),
    ],
)
def test_tars_of_a_folder_are_one_set(
    files: str | None, numbers: list[int], tmp_path: Path
) -> None:
    names = ["train-00.tar", "train-01.tar", "train-02.tar", "test-00.tar"]
    for i, name in enumerate(names):
        in_tar(samples(10 * i), tmp_path / name)
    source = open_source(str(tmp_path), Wanted(files=files))
    assert source.kind == "webdataset" and len(source.names) == 3 * len(numbers)
    for record in source.records():
        tar, key = record.name.split("/")
        i = names.index(tar + ".tar")
        assert i in numbers and record.data() == samples(10 * i)[f"{key}.jpg"]
        assert record.split == tar.split("-")[0] and record.label == int(key) % 2
    if files and "{" in files:
        assert open_source(f"{tmp_path}/{files}").names == source.names


def test_a_missing_tar_of_a_pattern_is_named(tmp_path: Path) -> None:
    in_tar(samples(0), tmp_path / "x-0.tar")
    with pytest.raises(ValueError, match=r"data\.files: .* there is no 'x-1\.tar'"):
        open_source(str(tmp_path / "x-{0..1}.tar"))
    with pytest.raises(ValueError, match=r"no file of data\.source is named like"):
        open_source(str(tmp_path), Wanted(files="y*"))


def test_folders_of_pictures_with_notes_stay_an_imagefolder(tmp_path: Path) -> None:
    tree = {f"{c}/{i}.png": picture(i) for c in "ab" for i in range(2)} | {"a/0.json": b"{}"}
    assert open_source(in_tar(tree, tmp_path / "x.tar")).kind == "imagefolder in tar"
    assert open_source(in_tar(tree, tmp_path / "x.tar"), Wanted("webdataset")).kind == "webdataset"


def test_pictures_beside_an_archive_stay_a_folder(tmp_path: Path) -> None:
    in_tar(samples(0), tmp_path / "x.tar")
    source = open_source(in_folder({"1.png": picture(1)}, tmp_path))
    assert (source.kind, source.names, source.ignored) == ("folder", ["1.png"], {".tar": 1})


def test_a_broken_json_is_named(tmp_path: Path) -> None:
    path = in_tar({"1.jpg": b"", "1.json": b"{"}, tmp_path / "x.tar")
    with pytest.raises(ValueError, match=r"'1\.json' is no sound JSON"):
        open_source(path)
