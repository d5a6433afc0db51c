"""The watch over collapse: silent on a healthy run, one warning with advice for what falls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mimflow.ranks import Processes
from mimflow.train.collapse import PATIENCE, Watch
from mimflow.train.record import Record


def said(**curves: list[float]) -> list[str]:
    watch = Watch()
    rows = [dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)]
    return [line for row in rows for line in watch(row)]


def test_a_healthy_run_is_silent() -> None:
    assert said(
        rank=[4.0, 8.0, 20.0],
        teacher_entropy=[0.99, 0.9, 0.6],
        centre_entropy=[0.95, 0.9, 0.97],
        loss=[9.0, 8.0, 7.0],
    ) == []  # fmt: skip


def test_a_value_that_was_never_good_did_not_fall() -> None:
    assert said(rank=[1.0, 1.2, 1.1], teacher_entropy=[0.999, 0.999, 0.999]) == []


@pytest.mark.parametrize(
    ("name", "values", "advice"),
    [
        ("rank", [6.0, 1.2, 2.0], "learning rate"),
        ("centre_entropy", [0.19, 0.21], "centring"),
        ("teacher_entropy", [0.7, 0.999, 0.99], "teacher temperature"),
    ],
)
def test_what_falls_is_named_once_with_advice(name: str, values: list[float], advice: str) -> None:
    fallen = {"rank": 1.1, "centre_entropy": 0.03, "teacher_entropy": 0.999}[name]
    assert said(**{name: values + [fallen] * (PATIENCE - 1)}) == []
    [line] = said(**{name: values + [fallen] * 3 * PATIENCE})
    assert line.startswith(f"{name} is {fallen:.3g}") and advice in line


def test_the_record_warns_in_the_log_and_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    record = Record("pretrain", "toy", torch.device("cpu"), Processes(0, 1, 0))
    with record.over(96, 0):
        for done in range(30):
            record.step(done, {"loss": 1.0, "rank": 1.2 if done else 9.0})
    events = [json.loads(x) for x in Path("logs/pretrain/toy.jsonl").read_text().splitlines()]
    [warning] = [e for e in events if e["event"] == "warning"]
    assert warning["images"] == PATIENCE and "rank is 1.2" in warning["why"]
    assert capsys.readouterr().err.count("toy: rank is 1.2") == 1
