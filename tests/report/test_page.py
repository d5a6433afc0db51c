"""The page shows every column that a run has recorded, in the same bytes each time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from mimflow.report.page import page

SUMMARY = {"tasks": [], "rows": [], "comparisons": []}
TITLES = ("loss", "gradient norm", "rank", "momentum")


def test_there_is_a_panel_for_each_column_of_any_run(tmp_path: Path) -> None:
    columns = {"mae": "samples,loss,gradient_norm,rank", "ibot": "samples,loss,momentum,rank"}
    for name, heads in columns.items():
        (tmp_path / name).mkdir()
        rows = "".join(f"{i},{4 - i},{i + 1},{2 * i}\n" for i in range(1, 4))
        (tmp_path / name / "losses.csv").write_text(f"{heads}\n{rows}")
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name / "pictures.png")
    found = page(SUMMARY, list(columns), tmp_path)
    texts = re.findall(r"<!-- (.*?) -->", found)  # matplotlib names each text that it draws
    assert [text for text in texts if text in TITLES] == [
        "loss",
        "gradient norm",
        "rank",
        "momentum",
    ]
    assert texts.count("images seen") == 4
    assert [name for name in columns if texts.count(name) == 1] == list(columns)  # one legend
    assert found == page(SUMMARY, list(columns), tmp_path)
