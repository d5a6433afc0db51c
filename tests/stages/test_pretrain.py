"""What a run's parameters say reaches the loop."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy import make_shards

from mimflow.data.loader import Batches
from mimflow.data.order import samples_at
from mimflow.params.read import read_yaml
from mimflow.stage import load
from stages import pretrain

ROOT = Path(__file__).parents[2]


class Reached(Exception):
    """Instead of the training."""


@pytest.mark.parametrize("window", [None, 20])
def test_the_order_window_of_a_run_is_that_of_its_batches(
    window: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = read_yaml(ROOT / "presets/toy.yaml")
    values["runs"]["mae"] |= {"order_window": window, "seed": 3}
    (tmp_path / "params.yaml").write_text(json.dumps(values))  # JSON is YAML
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "data").mkdir()
    count = len(make_shards(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    found: list[Batches] = []

    def caught(method: Any, batches: Batches, *_: Any) -> None:
        found.append(batches)
        raise Reached

    monkeypatch.setattr("mimflow.train.training.train", caught)
    with pytest.raises(Reached):
        pretrain.body(replace(load()["pretrain@mae"], made_hash="0" * 64))
    expected = samples_at(found[0].place, count, 3, window)
    assert found[0].samples(0).tolist() == expected.tolist()
