"""The audit counts what is there: splits, sizes, shapes, classes, and grey pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data.packing import in_folder, picture

from mimflow.data.sharding.audit import _bin
from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.write import write_part
from mimflow.data.sources import open_source

FORMS = {"a": (20, 20), "b": (40, 20), "c": (64, 500)}


def audit_of(tree: dict[str, bytes], folder: Path) -> dict[str, Any]:
    source = open_source(in_folder(tree, folder / "in"))
    write_part(source, folder, 0, 1, 2, 0.2, 100_000)
    merge(source, folder, folder / "index.json", folder / "audit.json", 2, 0.0)
    audit: dict[str, Any] = json.loads((folder / "audit.json").read_bytes())
    return audit


def test_splits_sizes_and_shapes_are_counted(tmp_path: Path) -> None:
    tree = {f"train/{c}/{i}.png": picture(i, "PNG", FORMS[c]) for c in "abc" for i in range(2)}
    audit = audit_of(tree | {"val/a/7.png": picture(7, "PNG", (20, 20))}, tmp_path)
    assert audit["splits"] == {"train": 6, "val": 1}
    assert audit["sizes"] == {"20x20": 3, "40x20": 2, "64x500": 2}
    assert audit["short_sides"] == {"under 32": 5, "from 64 to under 128": 2}
    assert audit["aspects"] == {
        "from 0.5 to under 0.8": 2,
        "from 0.8 to under 1.25": 3,
        "from 4": 2,
    }
    assert audit["classes_in_one_split_only"] == {"b": "train", "c": "train"}
    assert audit["greyscale"] == 0


def test_bins_have_no_gaps() -> None:
    names = [_bin((1, 2.5), i) for i in range(3)]
    assert names == ["under 1", "from 1 to under 2.5", "from 2.5"]


def test_a_folder_without_labels_has_no_classes(tmp_path: Path) -> None:
    audit = audit_of({f"{i:02d}.png": picture(i) for i in range(30)}, tmp_path)
    assert audit["kind"] == "folder" and 0 < audit["splits"]["test"] < 15
    assert audit["classes_in_one_split_only"] == {}
    assert set(audit["classes"]["train"]) == {"(no label)"}
