"""The summary says which statistic it used, and its numbers are that statistic's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimflow.evals.items import write_items
from mimflow.evals.statistics import bootstrap, student, welch
from mimflow.report.summary import compare_names, summarise

ENCODER = {"depth": 2}
RIGHT = {"a": 60, "a1": 64, "a2": 65, "b": 50, "random": 20, "worse": 15, "pixels": 30}  # of 100


def values(evaluate: dict[str, list[str]]) -> dict[str, Any]:
    run = {"method": "mae", "seed": 0, "samples": 1000, "encoder": ENCODER}
    control = {"kind": "random", "draws": 3, "encoder": ENCODER}
    return {
        "runs": {
            "a": run,
            "a1": run | {"seed": 1},
            "a2": run | {"seed": 2},
            "b": run | {"samples": 5},
            "b1": run | {"samples": 5, "seed": 1},
        },
        "controls": {"random": control, "worse": control, "pixels": {"kind": "pixels"}},
        "encoders": {},
        "evaluate": {"knn": [], "linear": [], "diagnostics": [], **evaluate},
    }


def items(count: int) -> np.ndarray:
    """Which of 100 items are right: each name its own, but hard ones are hard for all."""
    rng = np.random.default_rng(count)
    order = (np.arange(100) + rng.normal(0, 15, 100)).argsort()
    right = np.zeros(100, bool)
    right[order[:count]] = True
    return right


def write(folder: Path, task: str, best: dict[str, int]) -> None:
    for name, count in best.items():
        path = folder / task / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"best": float(count)}))
        write_items(path, items(count)[None], np.zeros(100))


def test_one_seed_has_a_bootstrap_and_a_paired_gain_over_the_best_control(tmp_path: Path) -> None:
    names = ["b", "random", "worse", "pixels"]
    write(tmp_path, "knn", {n: RIGHT[n] for n in names})
    found = summarise(values({"knn": names}), tmp_path)
    assert found["tasks"] == ["knn"] and [r["name"] for r in found["rows"]] == names
    cell = found["rows"][0]["knn"]
    expected = bootstrap(100.0 * items(50))
    assert (cell["value"], cell["low"], cell["high"]) == pytest.approx(expected)
    assert cell["statistic"] == "bootstrap over test images"
    gain = cell["gain"]
    expected = bootstrap(100.0 * items(50) - 100.0 * items(20))
    assert (gain["value"], gain["low"], gain["high"]) == pytest.approx(expected)
    assert gain["statistic"] == "paired bootstrap over test images"
    assert "gain" not in found["rows"][1]["knn"] and found["comparisons"] == []


def test_several_seeds_have_students_interval_and_their_mean_is_compared(tmp_path: Path) -> None:
    names = ["a", "a1", "a2", "b", "random"]
    write(tmp_path, "linear", {n: RIGHT[n] for n in names})
    found = summarise(values({"linear": names}), tmp_path)
    row = found["rows"][0]
    assert row["seeds"] == 3
    expected = student(np.array([60.0, 64, 65]))
    cell = row["linear"]
    assert (cell["value"], cell["low"], cell["high"]) == pytest.approx(expected, abs=1e-4)
    assert cell["statistic"] == "Student's t over seeds"
    assert cell["gain"]["value"] == pytest.approx(63 - 20, abs=1e-4)
    [pair] = found["comparisons"]  # b has one seed
    assert pair["statistic"] == "paired bootstrap over test images"
    assert pair["value"] == pytest.approx(50 - 63, abs=1e-4)


def test_two_rows_of_several_seeds_are_compared_by_welchs_test(tmp_path: Path) -> None:
    names = ["a", "a1", "b", "b1", "random"]
    write(tmp_path, "linear", {"a": 60, "a1": 64, "b": 50, "b1": 51, "random": 20})
    [pair] = summarise(values({"linear": names}), tmp_path)["comparisons"]
    expected, p = welch(np.array([50.0, 51]), np.array([60.0, 64]))
    assert (pair["value"], pair["low"], pair["high"]) == pytest.approx(expected, abs=1e-4)
    assert pair["statistic"] == "Welch's t over seeds" and pair["p"] == pytest.approx(p, abs=1e-4)


def test_names_are_compared_with_all_their_seeds_or_seed_with_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a", "a1", "b", "b1", "random"]
    write(Path("metrics"), "knn", {"a": 60, "a1": 64, "b": 50, "b1": 51, "random": 20})
    given = values({"knn": names})
    [found] = compare_names("b1", "a", given)
    assert (found["first"], found["second"], found["value"]) == ("b", "a", -11.5)
    [found] = compare_names("a1", "a", given)
    assert (found["value"], found["statistic"]) == (4.0, "paired bootstrap over test images")
    with pytest.raises(ValueError, match="'c' is evaluated nowhere"):
        compare_names("a", "c", given)
    given = values({"knn": names, "linear": names})  # linear: not made yet
    assert [f["task"] for f in compare_names("b1", "a", given)] == ["knn"]
    with pytest.raises(ValueError, match=r"metrics/linear/b\.json: not made yet"):
        compare_names("b", "a", values({"linear": names}))


def test_label_free_measures_have_no_gain_and_no_labels_is_no_number(tmp_path: Path) -> None:
    names = ["a", "random"]
    for name, rank in (("a", 12.5), ("random", 3.0)):
        for task, content in (("diagnostics", {"rankme_mean": rank}), ("knn", {"labels": 0})):
            path = tmp_path / task / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content))
    rows = summarise(values({"knn": names, "diagnostics": names}), tmp_path)["rows"]
    assert rows[0]["diagnostics"] == {"value": 12.5} and rows[0]["knn"] == {}
