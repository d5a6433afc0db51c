"""A source is recognised, listed in a fixed order and read lazily; no content crashes it."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimflow.data.scenes import Scenes, draw_scenes
from mimflow.data.sources import Source, open_source

Tree = dict[str, bytes]


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (value % 256, value // 256, 7)).save(file, "PNG")
    return file.getvalue()


def in_folder(tree: Tree, path: Path) -> str:
    for name, data in tree.items():
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return str(path)


def in_zip(tree: Tree, path: Path, method: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", method) as file:
        for name, data in reversed(tree.items()):
            file.writestr(name, data)
    return str(path.with_suffix(".zip"))


def in_deflated_zip(tree: Tree, path: Path) -> str:
    return in_zip(tree, path, zipfile.ZIP_DEFLATED)


def in_tar(tree: Tree, path: Path, suffix: str = ".tar") -> str:
    place = path.with_suffix(suffix)
    mode = "w" if suffix == ".tar" else "w:gz"
    with tarfile.open(place, mode) as file:  # type: ignore[call-overload]
        for name, data in reversed(tree.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return str(place)


def in_tgz(tree: Tree, path: Path) -> str:
    return in_tar(tree, path, ".tgz")


def in_tar_gz(tree: Tree, path: Path) -> str:
    return in_tar(tree, path, ".tar.gz")


def content(source: Source) -> list[tuple]:
    return [(r.name, r.split, r.label, r.data()) for r in source.records()]


CLASSES: Tree = {
    f"{split}/{label}/{i}.png": png(i + 10 * (label == "b") + 100 * (split == "test"))
    for split in ("train", "test")
    for label in ("b", "a")
    for i in range(3)
}


@pytest.mark.parametrize("below", ["", "set-1.0/"])
@pytest.mark.parametrize("pack", [in_zip, in_deflated_zip, in_tar, in_tgz, in_tar_gz])
def test_an_archive_reads_like_its_folder(
    pack: Callable[[Tree, Path], str], below: str, tmp_path: Path
) -> None:
    folder = open_source(in_folder(CLASSES, tmp_path / "folder"))
    packed = open_source(
        pack({below + name: data for name, data in CLASSES.items()}, tmp_path / "x")
    )
    assert packed.kind == f"imagefolder in {'zip' if 'zip' in pack.__name__ else 'tar'}"
    assert folder.kind == "imagefolder"
    assert packed.label_names == folder.label_names == ["a", "b"]
    assert packed.splits == folder.splits == ("train", "test")
    assert content(packed) == content(folder)
    assert packed.names == folder.names == sorted(CLASSES)


def test_records_carry_the_split_the_label_and_the_bytes_of_their_file(tmp_path: Path) -> None:
    source = open_source(in_folder(CLASSES, tmp_path))
    for name, split, label, data in content(source):
        assert name.split("/")[:2] == [split, "ab"[label]]
        assert data == CLASSES[name]


@pytest.mark.parametrize(
    ("names", "kind", "splits"),
    [
        (["1.png", "x/2.png", "y/3.png"], "folder", ()),
        (["x/1.png", "x/2.png"], "folder", ()),
        (["x/1.png", "y/deep/er/2.png"], "imagefolder", ()),
        (["train/1.png", "test/2.png"], "folder", ("train", "test")),
        (["train/x/1.png", "train/y/2.png", "valid/x/3.png"], "imagefolder", ("train", "val")),
        (["Train/x/1.png", "validation/y/2.png"], "imagefolder", ("train", "val")),
        (["train/x/1.png", "train/y/2.png", "test/3.png"], "folder", ("train", "test")),
        (["a/b/train/x/1.png", "a/b/train/y/2.png"], "imagefolder", ("train",)),
        (["a/b/x/1.png", "a/b/y/2.png"], "imagefolder", ()),
        (["a/b/1.png", "a/b/2.png"], "folder", ()),
        (["bus/1.png", "train/2.png"], "imagefolder", ()),
        (["x/1.png", "y/2.png", "LICENSE"], "imagefolder", ()),
        (["1.JPEG", "2"], "folder", ()),
    ],
)
def test_the_layout_decides_the_kind_and_the_splits(
    names: list[str], kind: str, splits: tuple[str, ...], tmp_path: Path
) -> None:
    source = open_source(in_folder(dict.fromkeys(names, b""), tmp_path))
    assert (source.kind, source.splits) == (kind, splits)
    assert bool(source.label_names) == (kind == "imagefolder")
    assert len(source.names) == len(names)


def test_the_class_is_the_folder_directly_below_the_split(tmp_path: Path) -> None:
    source = open_source(in_folder({"train/x/u/1.png": b"", "train/y/1.png": b""}, tmp_path))
    assert source.label_names == ["x", "y"]
    assert [record.label for record in source.records()] == [0, 1]


def test_splits_beside_other_folders_are_refused(tmp_path: Path) -> None:
    tree = {"train/x/1.png": b"", "test/x/1.png": b"", "more/x/1.png": b""}
    with pytest.raises(ValueError, match=r"beside the splits test, train .* 'more'"):
        open_source(in_folder(tree, tmp_path))


@pytest.mark.parametrize("pack", [in_folder, in_zip, in_tar])
def test_what_is_no_image_is_counted(pack: Callable[[Tree, Path], str], tmp_path: Path) -> None:
    litter = [
        "a.txt",
        "x/b.JSON",
        "x/c.txt",
        "x/.d.png",
        "x/._1.png",
        "Thumbs.db",
        "__MACOSX/1.png",
    ]
    tree = dict.fromkeys(["x/1.png", "y/2.png", *litter], b"")
    source = open_source(pack(tree, tmp_path / "set"))
    assert source.ignored == {".txt": 2, ".json": 1, "hidden": 4}
    assert source.names == ["x/1.png", "y/2.png"]


def test_a_missing_path_names_its_neighbour(tmp_path: Path) -> None:
    in_folder({"cifar10/1.png": b""}, tmp_path)
    with pytest.raises(
        ValueError, match=r"data\.source: no such .*cifar1O.* \(nearest: .*cifar10'"
    ):
        open_source(str(tmp_path / "cifar1O"))
    with pytest.raises(ValueError, match="nor its folder"):
        open_source(str(tmp_path / "no" / "where"))


def test_a_source_without_images_says_what_would_be_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no images \(1 other files\).*\.jpg .*\.ppm"):
        open_source(in_folder({"a.txt": b""}, tmp_path))
    with pytest.raises(ValueError, match=r"allowed: a folder or one of .*\.zip"):
        open_source(in_folder({"a.doc": b""}, tmp_path) + "/a.doc")


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    source = open_source(in_folder(CLASSES, tmp_path))
    kept = tmp_path / source.names[2]
    for path in tmp_path.rglob("*.png"):
        if path != kept:
            path.unlink()
    records = list(source.records())
    assert [record.data() for record in source.records([2])] == [kept.read_bytes()]
    with pytest.raises(ValueError, match="No such file"):
        records[0].data()


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    in_folder({"data/a/1.png": b"1", "data/b/2.png": b"2"}, tmp_path)
    root = tmp_path / "set"
    root.mkdir()
    (root / "train").symlink_to(tmp_path / "data")
    (root / "train" / "a" / "up").symlink_to(root)
    (root / "train" / "a" / "gone.png").symlink_to(tmp_path / "nowhere")
    source = open_source(str(root))
    assert source.names == ["train/a/1.png", "train/b/2.png"]
    assert source.ignored == {"link to a folder above": 1, "broken link or special file": 1}


@pytest.mark.parametrize("pack", [in_zip, in_deflated_zip, in_tar, in_tgz])
def test_a_damaged_archive_is_a_value_error_or_reads(
    pack: Callable[[Tree, Path], str], tmp_path: Path
) -> None:
    path = Path(pack(CLASSES, tmp_path / "x"))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(80):
        data = bytearray(whole[: random.integers(len(whole)) if random.random() < 0.3 else None])
        for at in random.integers(0, len(data), 3 if data else 0):
            data[at] = random.integers(256)
        path.write_bytes(data)
        try:
            for record in open_source(str(path)).records():
                with suppress(ValueError):
                    record.data()
        except ValueError:  # anything else fails the test
            refused += 1
    assert refused  # a tar.gz is refused whole each time


def test_a_flipped_bit_in_a_zip_member_and_a_cut_tar_are_noticed(tmp_path: Path) -> None:
    path = Path(in_zip(CLASSES, tmp_path / "x"))
    data = bytearray(path.read_bytes())
    data[data.index(CLASSES["test/a/0.png"]) + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        content(open_source(str(path)))
    path = Path(in_tar(CLASSES, tmp_path / "y"))
    path.write_bytes(path.read_bytes()[: 3 * 1024 + 100])
    with pytest.raises(ValueError, match="tar"):
        open_source(str(path))


SCENES = "kind: scenes\nseed: 3\ntrain: 300\ntest: 20\nsize: 16\nclutter: clear\nobjects: 1\n"


def test_scenes_are_the_drawn_ones_in_any_selection(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SCENES)
    source = open_source(str(path))
    assert (source.kind, source.encoding, len(source.names)) == ("scenes", "raw", 320)
    every = list(source.records())
    assert [record.name for record in every] == source.names == sorted(source.names)
    assert list(source.records([5, 319, 40, 7])) == [every[i] for i in (5, 319, 40, 7)]
    drawn = draw_scenes(Scenes(3, 300, 20, 16, "clear", 1), "train", np.array([299]))
    assert every[-1].data() == drawn["image"][0].tobytes()
    assert every[-1].label == drawn["label"][0] and every[-1].name == "train/000299"
    assert every[-1].extra["boxes"] == drawn["boxes"][0].tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SCENES.replace("seed", "sead"), "unknown key 'sead'; .*nearest: 'seed'"),
        (SCENES.replace("size: 16\n", ""), "missing key 'size'"),
        (SCENES.replace("scenes", "scene"), "kind: 'scene'; allowed: 'scenes'"),
        (SCENES.replace("clear", "foggy"), "foggy"),
        ("- a\n", "kind"),
        ("a: [", "no yaml"),
    ],
)
def test_a_wrong_description_of_scenes_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        open_source(str(path))
