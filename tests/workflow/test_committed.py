"""The committed results are those of the committed code and parameters."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mimflow.code import code_hash, modules_of
from mimflow.files import canonical
from mimflow.params.read import read_yaml
from mimflow.stage import load

ROOT = Path(__file__).parents[2]
LOCK = read_yaml(ROOT / "dvc.lock")["stages"]  # as DVC reads numbers


def test_the_lock_has_every_stage_of_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert set(load()) == set(LOCK)


def test_the_lock_was_made_by_the_present_code() -> None:
    outs = {out["path"]: out["md5"] for out in LOCK["code"]["outs"]}
    for path, recorded in outs.items():
        if not path.endswith("made.json"):
            ours = canonical(code_hash(modules_of(Path(path).stem, ROOT), ROOT))
            assert hashlib.md5(ours).hexdigest() == recorded, f"{path}: run `make run` and commit"


def test_the_lock_was_made_by_the_present_parameters() -> None:
    assert LOCK["code"]["params"]["params.yaml"] == read_yaml(ROOT / "params.yaml")


def test_the_committed_metrics_are_those_of_the_lock() -> None:
    found = {
        out["path"]: out["md5"]
        for stage in LOCK.values()
        for out in stage["outs"]
        if out["path"].endswith(".json")
    }
    metrics = sorted((ROOT / "metrics").rglob("[a-z]*.json"))
    kept = [p for p in metrics if not p.name.endswith("made.json")]
    evaluate = read_yaml(ROOT / "params.yaml")["evaluate"]
    expected = {f"metrics/{task}/{n}.json" for task, names in evaluate.items() for n in names}
    assert {str(p.relative_to(ROOT)) for p in kept} == expected
    for path in kept:
        assert hashlib.md5(path.read_bytes()).hexdigest() == found[str(path.relative_to(ROOT))]


def test_the_committed_default_learns() -> None:
    def best(task: str, name: str) -> float:
        return float(json.loads((ROOT / f"metrics/{task}/{name}.json").read_bytes())["best"])

    assert best("linear", "mae") - best("linear", "random") >= 30
    assert best("knn", "mae") - best("knn", "random") >= 10
    assert best("knn", "mae") > best("knn", "pixels")
