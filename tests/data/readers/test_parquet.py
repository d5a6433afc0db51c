"""Rows of Parquet tables are pictures with labels; a row group is read once and alone."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.packing import picture

from mimflow.data.readers import parquet
from mimflow.data.sources import open_source

DATA = [picture(i) for i in range(7)]


def save(path: Path, columns: dict[str, Any], facts: Any = None, rows: int = 3) -> str:
    table = pa.table(columns)
    if facts is not None:
        table = table.replace_schema_metadata({b"huggingface": json.dumps(facts).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return str(path)


def structs(data: list[bytes | None]) -> list[dict[str, Any]]:
    return [{"bytes": each, "path": f"{i}.png"} for i, each in enumerate(data)]


@pytest.mark.parametrize("column", [DATA, structs(DATA)], ids=["bytes", "struct"])
def test_bytes_come_back_in_any_selection(column: list[Any], tmp_path: Path) -> None:
    path = save(tmp_path / "x.parquet", {"image": column, "label": list(range(7))})
    source = open_source(path)
    assert source.kind == "parquet" and source.names[5] == "x/00000005"
    assert [record.data() for record in source.records()] == DATA
    assert [(r.label, r.data()) for r in source.records([6, 0, 3])] == [
        *((6, DATA[6]), (0, DATA[0]), (3, DATA[3]))
    ]


def test_names_of_classes_are_those_of_the_schema(tmp_path: Path) -> None:
    facts = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    path = save(tmp_path / "x.parquet", {"image": DATA[:3], "label": [1, 0, -1]}, facts)
    source = open_source(path)
    assert source.label_names == ["cat", "dog"]
    assert [record.label for record in source.records()] == [1, 0, -1]


@pytest.mark.parametrize(
    ("values", "names", "labels"),
    [
        (["b", "a", None], ["a", "b"], [1, 0, -1]),
        ([2, 0, 0], ["0", "1", "2"], [2, 0, 0]),
        ([10**9, 5, None], ["1000000000", "5"], [0, 1, -1]),
        ([None, None, None], [], [-1, -1, -1]),
    ],
)
def test_labels_are_words_or_numbers(
    values: list[Any], names: list[str], labels: list[int], tmp_path: Path
) -> None:
    kind = pa.string() if "b" in values else pa.int64()
    columns = {"image": DATA[:3], "label": pa.array(values, kind)}
    source = open_source(save(tmp_path / "x.parquet", columns))
    assert source.label_names == names
    assert [record.label for record in source.records()] == labels


def test_files_of_a_folder_say_their_splits(tmp_path: Path) -> None:
    parts = ["data/train-00000-of-00002", "data/train-00001-of-00002", "data/validation-00000"]
    for i, name in enumerate(parts):
        save(tmp_path / f"{name}.parquet", {"image": DATA[2 * i : 2 * i + 2]})
    source = open_source(str(tmp_path))
    assert source.splits == ("train", "val") and source.label_names == []
    assert [r.split for r in source.records()] == ["train"] * 4 + ["val"] * 2
    assert [r.data() for r in source.records()] == DATA[:6] and source.names == sorted(source.names)


def test_records_stand_in_the_order_of_their_names(tmp_path: Path) -> None:
    for i, name in enumerate(["a", "a.x", "a-b"]):
        save(tmp_path / f"{name}.parquet", {"image": DATA[i : i + 1], "label": [i]})
    source = open_source(str(tmp_path))
    assert source.names == ["a-b/00000000", "a.x/00000000", "a/00000000"]
    assert [(r.label, r.data()) for r in source.records()] == [(i, DATA[i]) for i in (2, 1, 0)]


def test_a_row_group_is_read_when_it_is_asked_for_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(save(tmp_path / "x.parquet", {"image": DATA}))
    read: list[int] = []
    plain = parquet._Spool._add

    def counted(self: parquet._Spool, number: int, group: int) -> None:
        read.append(group)
        plain(self, number, group)

    monkeypatch.setattr(parquet._Spool, "_add", counted)
    assert [r.data() for r in source.records([4, 3, 5])] == [DATA[4], DATA[3], DATA[5]]
    assert read == [1]
    assert [r.data() for r in source.records()] == DATA and sorted(read) == [0, 1, 2]


def test_an_empty_row_is_an_error_of_its_own(tmp_path: Path) -> None:
    source = open_source(save(tmp_path / "x.parquet", {"image": [DATA[0], None, DATA[2]]}))
    first, empty, last = source.records()
    assert (first.data(), last.data()) == (DATA[0], DATA[2])
    with pytest.raises(ValueError, match="no bytes in this row"):
        empty.data()
    with pytest.raises(ValueError, match="more than the 10 that"):
        last.data(10)


def test_tables_without_a_picture_or_with_two_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 columns hold bytes"):
        open_source(save(tmp_path / "x.parquet", {"a": [1, 2]}))
    with pytest.raises(ValueError, match=r"2 columns hold bytes .left, right"):
        open_source(save(tmp_path / "x.parquet", {"left": DATA, "right": DATA}))
    (tmp_path / "y.parquet").write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="no sound Parquet file"):
        open_source(str(tmp_path / "y.parquet"))
