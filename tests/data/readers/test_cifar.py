"""CIFAR in binary gives back its pixels and labels; as a pickle it is refused."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from mimflow.data.sources import open_source


def in_folder(tree: dict[str, bytes], path: Path, archive: str = "") -> str:
    """The files below `path`, or in an archive of this format beside it."""
    for name, data in tree.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return shutil.make_archive(str(path), archive, path) if archive else str(path)


def cifar_rows(count: int, labels: int, seed: int) -> np.ndarray:
    """uint8 (count, labels + 3072) with labels below ten."""
    rows = np.random.default_rng(seed).integers(0, 256, (count, labels + 3072), dtype=np.uint8)
    rows[:, :labels] %= 10
    return rows


@pytest.mark.parametrize("archive", ["", "zip", "tar", "gztar"])
@pytest.mark.parametrize("labels", [1, 2])
def test_binary_cifar_gives_back_its_pixels(archive: str, labels: int, tmp_path: Path) -> None:
    batches = {1: ("data_batch_2", "test_batch"), 2: ("train", "test")}[labels]
    rows = {stem: cifar_rows(4 + i, labels, i) for i, stem in enumerate(batches)}
    tree = {f"cifar/{stem}.bin": value.tobytes() for stem, value in rows.items()}
    names = [f"name{i}" for i in range(10 ** (labels))]
    text = {1: "batches.meta.txt", 2: "fine_label_names.txt"}[labels]
    tree[f"cifar/{text}"] = "\n".join(names).encode()
    source = open_source(in_folder(tree, tmp_path / "x", archive))
    assert source.kind.split()[0] == "cifar" and source.encoding == "raw"
    assert source.label_names == names and source.splits == ("train", "test")
    found = list(source.records())
    assert len(found) == 9 and [record.name for record in found] == sorted(source.names)
    for record in found:
        split, stem, number = record.name.split("/")
        row = rows[stem][int(number)]
        pixels = np.frombuffer(record.data(), np.uint8).reshape(32, 32, 3)
        assert np.array_equal(pixels.transpose(2, 0, 1).reshape(-1), row[labels:])
        assert record.label == row[labels - 1] and record.shape == (32, 32)
        assert split == record.split == stem.replace("data_batch_2", "train").split("_")[0]


def test_pickled_cifar_is_refused_without_being_loaded(tmp_path: Path) -> None:
    for names in (["data_batch_1", "test_batch", "batches.meta"], ["train", "test", "meta"]):
        tree = {f"cifar-python/{name}": pickle.dumps({b"data": 1}) for name in names}
        with pytest.raises(ValueError, match="binary version"):
            open_source(in_folder(tree, tmp_path / names[0], "gztar"))


def test_cut_and_unlabelled_cifar_say_so(tmp_path: Path) -> None:
    data = cifar_rows(3, 1, 0).tobytes()
    assert open_source(in_folder({"test_batch.bin": data}, tmp_path / "a")).label_names[9] == "9"
    with pytest.raises(ValueError, match="cut off after 2 images"):
        open_source(in_folder({"test_batch.bin": data[:-1]}, tmp_path / "b"))
