"""The table reads each run against the control of its own encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mimflow.report.tables import cells, markdown, summarise

SMALL, LARGE = {"depth": 2}, {"depth": 4}
VALUES: dict[str, Any] = {
    "runs": {
        n: {"method": "mae", "seed": 0, "samples": 1000, "encoder": e}
        for n, e in (("a", SMALL), ("b", LARGE))
    },
    "controls": {
        "random": {"kind": "random", "draws": 3, "encoder": SMALL},
        "random-b": {"kind": "random", "draws": 3, "encoder": LARGE},
        "pixels": {"kind": "pixels"},
    },
    "evaluate": {"knn": ["a", "random", "pixels", "b", "random-b"], "linear": ["a", "random"]},
}
BEST = {"a": 50.0, "b": 60.0, "random": 20.0, "random-b": 25.0, "pixels": 30.0}


def write(folder: Path, best: dict[str, Any]) -> None:
    for task, names in VALUES["evaluate"].items():
        (folder / task).mkdir(parents=True)
        for name in names:
            (folder / task / f"{name}.json").write_text(
                json.dumps({"best": best[name]} if best[name] is not None else {"labels": 0})
            )


def test_gains_are_over_the_control_with_the_same_encoder(tmp_path: Path) -> None:
    write(tmp_path, BEST)
    rows = {row["name"]: row for row in summarise(VALUES, tmp_path)["rows"]}
    assert list(rows) == ["a", "b", "random", "pixels", "random-b"]
    assert (rows["a"]["knn_gain"], rows["b"]["knn_gain"], rows["a"]["linear_gain"]) == (30, 35, 30)
    assert rows["random"]["knn_gain"] is None and "linear" not in rows["b"]


def test_a_data_set_without_labels_says_so(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(BEST))
    text = markdown(summarise(VALUES, tmp_path))
    assert "| a | no labels |  | no labels |  | mae, seed 0, 1,000 images |" in text


def test_every_row_has_a_cell_for_every_heading(tmp_path: Path) -> None:
    write(tmp_path, BEST)
    heads, rows = cells(summarise(VALUES, tmp_path))
    assert {len(row) for row in rows} == {len(heads)}
    assert rows[1] == [
        "b",
        "",
        "",
        "60.0",
        "+35.0",
        "mae, seed 0, 1,000 images",
    ]  # not evaluated: empty
