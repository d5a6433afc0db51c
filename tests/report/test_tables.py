"""The tables fit a terminal, and every row has a cell for every heading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mimflow.report.published import published_table
from mimflow.report.tables import ORDER, WIDTH, markdown, tables

ROOT = Path(__file__).parents[2]
GAIN = {"value": 13.9, "low": 11.0, "high": 16.0}
CELL = {"value": 25.7, "low": 23.5, "high": 27.5, "gain": GAIN}


def summary(tasks: list[str], **cells: Any) -> dict[str, Any]:
    rows = [
        {"name": "mae", "seeds": 2, "what": "mae, seeds 0, 1, 1,000 images", **cells},
        {"name": "a-control-with-a-name", "seeds": 1, "what": "control: raw pixels"},
    ]
    return {"tasks": tasks, "rows": rows, "comparisons": []}


def test_a_value_has_its_interval_and_its_gain() -> None:
    results, about = tables(summary(["knn"], knn=CELL))
    assert results == (
        ["encoder", "k-NN %", "over random"],
        [["mae", "25.7 ±2.0", "+13.9 ±2.5"], ["a-control-with-a-name", "", ""]],
    )
    assert about[1][0] == ["mae", "2", "mae, seeds 0, 1, 1,000 images"]


def test_all_tasks_together_stay_within_the_width() -> None:
    cells: dict[str, Any] = dict.fromkeys(ORDER, CELL) | {"diagnostics": {"value": 27.0}}
    found = tables(summary(ORDER[::-1], **cells))
    heads = [head for table in found[:-1] for head in table[0] if head != "encoder"]
    assert [h for h in heads if h != "over random"] == [
        "linear probe %",
        "k-NN %",
        "MAE's probe %",
        "attentive %",
        "fine-tuned %",
        "few-shot %",
        "RankMe",
    ]
    for heads, rows in found:
        assert {len(row) for row in rows} == {len(heads)}
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        assert 1 + sum(w + 3 for w in widths) <= WIDTH
    assert [row[0] for row in found[0][1]] == [row[0] for row in found[1][1]]


def test_a_data_set_without_labels_says_so_and_has_its_label_free_measure() -> None:
    text = markdown(summary(["linear", "diagnostics"], linear={}, diagnostics={"value": 27.0}))
    assert "| mae | no labels | 27.0 |\n" in text
    assert "Student's t over seeds" in text


def test_a_comparison_names_its_statistic() -> None:
    pair = {"task": "knn", "first": "b", "second": "a", "statistic": "Welch's t over seeds"}
    found = summary(["knn"], knn=CELL) | {"comparisons": [{**pair, **GAIN, "p": 0.0312}]}
    heads, [row] = tables(found)[-1]
    assert row == ["k-NN", "b - a", "+13.9", "+11.0 to +16.0", "Welch's t over seeds, p = 0.031"]
    assert len(heads) == len(row)


PUBLISHED = """
x: {what: X, source: arXiv 1, paper: 68.0, reference_code: 67.8, tolerance: 0.5, preset: p,
    task: knn, run: mae}
y: {what: Y, source: arXiv 2, paper: 50.0, reference_code: null, tolerance: 0.5, preset: p,
    task: knn, run: mae}
z: {what: Z, source: arXiv 3, paper: 50.0, reference_code: null, tolerance: 0.5, preset: q,
    task: knn, run: mae}
"""


def test_published_figures_are_read_against_ours(tmp_path: Path) -> None:
    (tmp_path / "results/p/metrics/knn").mkdir(parents=True)
    (tmp_path / "results/p/metrics/knn/mae.json").write_text('{"best": 67.4}')
    (tmp_path / "results/published.yaml").write_text(PUBLISHED)
    _, rows = published_table(tmp_path)
    assert rows == [
        ["X", "68.0", "67.8", "67.4", "0.5", "holds", "arXiv 1"],
        ["Y", "50.0", "", "67.4", "0.5", "off by +17.4", "arXiv 2"],
        ["Z", "50.0", "", "", "0.5", "not run", "arXiv 3"],
    ]
    (tmp_path / "results/published.yaml").write_text(PUBLISHED.replace("paper: 68.0", "papers: 1"))
    with pytest.raises(ValueError, match=r"published.yaml: x\."):
        published_table(tmp_path)


def test_the_committed_published_figures_are_right() -> None:
    heads, rows = published_table(ROOT)
    assert rows and all(len(row) == len(heads) and row[-1] for row in rows)
