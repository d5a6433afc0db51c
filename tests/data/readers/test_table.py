"""A list gives the pictures it names, and never tears a group apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from data.packing import in_folder, picture

from mimflow.data.sharding.write import split_of
from mimflow.data.sources import Wanted, open_source

TREE = {f"pictures/{i:02d}.png": picture(i) for i in range(60)}


def listed(text: str, tmp_path: Path, name: str = "list.csv") -> str:
    return in_folder(TREE | {name: text.encode()}, tmp_path) + f"/{name}"


def test_a_text_file_names_a_picture_in_each_line(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "x.png").write_bytes(picture(99))
    text = f"\ufeffpictures/03.png\n\n{tmp_path}/far/x.png\npictures/01.png\n"
    source = open_source(listed(text, tmp_path / "here", "list.txt"))
    assert source.kind == "list" and source.names == sorted(source.names)
    found = {record.name: record.data() for record in source.records()}
    assert found == {
        f"{tmp_path}/far/x.png": picture(99),
        **{name: TREE[name] for name in ("pictures/01.png", "pictures/03.png")},
    }


@pytest.mark.parametrize(("name", "comma"), [("list.csv", ","), ("list.tsv", "\t")])
def test_columns_are_read_by_their_names(name: str, comma: str, tmp_path: Path) -> None:
    rows = ["label,file,split,more", "cat,pictures/02.png,Train,1", "dog,pictures/01.png,valid,2"]
    source = open_source(listed("\n".join(rows).replace(",", comma), tmp_path, name))
    assert [(r.name, r.label, r.split) for r in source.records()] == [
        ("pictures/01.png", 1, "val"),
        ("pictures/02.png", 0, "train"),
    ]
    assert source.label_names == ["cat", "dog"] and source.splits == ("train", "val")


def test_a_group_never_crosses_splits(tmp_path: Path) -> None:
    rows = [f"{name},patient{i % 20}" for i, name in enumerate(TREE)]
    source = open_source(listed("path,group\n" + "\n".join(rows), tmp_path))
    found: dict[str, set[str]] = {}
    for i, record in enumerate(source.records()):
        group = record.annotations()["group"]
        found.setdefault(group, set()).add(split_of(source, i, 0.3))
    assert len(found) == 20 and all(len(splits) == 1 for splits in found.values())
    assert {split for splits in found.values() for split in splits} == {"train", "test"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\nc,d", "the first line must name the columns, one of them `path`"),
        ("", "the first line must name the columns"),
        ("path\n", "names no picture"),
        ("path,label\nx.png", "line 2 has 1 columns, the first has 2"),
        ("path,label\n,cat", "line 2 has no path"),
        ("path\nx.png\na.png\n./x.png", r"'x\.png' stands twice"),
        ("path,split\nx.png,trian", r"split 'trian' of 'x\.png'; allowed: train"),
        ("path,split,group\nx,train,g\ny,test,g", "group 'g' stands in the splits train and test"),
    ],
)
def test_a_wrong_list_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        open_source(listed(text, tmp_path))


def test_a_missing_picture_is_an_error_of_its_own(tmp_path: Path) -> None:
    source = open_source(listed("path\npictures/01.png\npictures/gone.png\n", tmp_path))
    first, second = source.records()
    assert first.data() == TREE["pictures/01.png"]
    with pytest.raises(ValueError, match="No such file"):
        second.data()


def test_the_kind_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.kind: coco, but .* is list"):
        open_source(listed("path\nx.png\n", tmp_path), Wanted("coco"))
