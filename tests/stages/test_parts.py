"""The stage `shards` in parts is the stage in one piece."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.shards import main

ROOT = Path(__file__).parents[2]
DRAWING = "{kind: scenes, seed: 0, train: 60, test: 10, size: 32, clutter: clear, objects: 1}"


def make(folder: Path, parts: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Every file below data/ after these parts and then the whole stage."""
    (folder / "data").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MIMFLOW_SHARDS", "state/shards")
    shutil.copy(ROOT / "dvc.yaml", folder)
    Path("data/tiny.yaml").write_text(DRAWING)
    text = (ROOT / "presets/toy.yaml").read_text().replace("data/scenes-toy", "data/tiny")
    Path("params.yaml").write_text(text.replace("num_shards: 2", "num_shards: 5"))
    for part in parts:
        assert main(["--part", part]) == 0
        assert not Path("data/made.json").exists()
    assert main([]) == 0
    assert not Path("state/shards").exists()
    return {str(p): p.read_bytes() for p in sorted(Path("data").rglob("*")) if p.is_file()}


def test_any_number_of_parts_makes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(tmp_path / "whole", [], monkeypatch)
    assert sum(name.endswith(".arrow") for name in whole) == 5
    for parts in (["0/1"], ["1/2", "0/2"], ["0/3", "1/3", "2/3"], ["1/3"], ["6/7", "4/7"]):
        folder = tmp_path / "-".join(parts).replace("/", "of")
        assert make(folder, parts, monkeypatch) == whole, parts


def test_a_part_shows_its_own_shards_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a", [], monkeypatch)
    shutil.rmtree("data/shards")
    Path("data/made.json").unlink()
    assert main(["--part", "1/2"]) == 0
    assert sorted(p.name for p in Path("data/shards").iterdir()) == ["00001.arrow", "00003.arrow"]


def test_a_part_that_is_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "a", [], monkeypatch)
    capsys.readouterr()
    assert main(["--part", "2/2"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "part: 2; allowed: 0 to 1"
    assert main(["--part", "second"]) == 2
    assert capsys.readouterr().err == "--part: 'second'; allowed: I/N\n"
