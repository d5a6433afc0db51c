"""A preset in a worktree of its own that shares cache, environment and raw data."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mimflow.__main__ import main

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository with presets, results and a DVC folder."""
    path = tmp_path / "main"
    for name in ("presets", ".dvc"):
        shutil.copytree(
            ROOT / name, path / name, ignore=shutil.ignore_patterns("cache", "tmp", "config.local")
        )
    for name in ("params.yaml", "dvc.yaml", ".gitignore"):
        shutil.copy(ROOT / name, path / name)
    (path / "data/raw").mkdir(parents=True)
    (path / "data/scenes.yaml").write_text("kind: scenes\n")
    (path / "metrics/knn").mkdir(parents=True)
    (path / "metrics/knn/mae.json").write_text("{}")
    (path / "dvc.lock").write_text("main's lock\n")
    (path / "results/toy").mkdir(parents=True)
    (path / "results/toy/dvc.lock").write_text("toy's lock\n")
    (path / ".venv").mkdir()
    monkeypatch.chdir(path)
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], check=True)
    return path


def test_a_workspace_has_the_presets_params_and_lock_and_shares_the_rest(checkout: Path) -> None:
    place = checkout.parent / "toy"
    assert main(["workspace", "toy", str(place)]) == 0
    assert (place / "params.yaml").read_text() == (ROOT / "presets/toy.yaml").read_text()
    assert (place / "dvc.lock").read_text() == "toy's lock\n"
    assert not any((place / "metrics").iterdir())  # of another preset
    assert (place / ".venv").resolve() == checkout / ".venv"
    assert (place / "data/raw").resolve() == checkout / "data/raw"
    assert f"dir = {checkout / '.dvc/cache'}" in (place / ".dvc/config.local").read_text()
    assert (checkout / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_a_preset_without_results_starts_without_a_lock(checkout: Path) -> None:
    place = checkout.parent / "cifar10"
    assert main(["workspace", "cifar10", str(place)]) == 0
    assert not (place / "dvc.lock").exists()


def test_what_git_refuses_ends_with_its_code(checkout: Path) -> None:
    place = checkout.parent / "again"
    assert main(["workspace", "toy", str(place)]) == 0
    shutil.rmtree(place)  # git still has it
    assert main(["workspace", "toy", str(place)]) not in (0, None)


def test_a_misspelt_preset_names_the_nearest(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["workspace", "cifar100", str(checkout.parent / "x")]) == 2
    assert "presets/cifar100.yaml: no such preset (nearest: cifar10;" in capsys.readouterr().err
    assert not (checkout.parent / "x").exists()


def test_a_folder_that_is_there_is_left_alone(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout.parent / "toy").mkdir()
    assert main(["workspace", "toy", str(checkout.parent / "toy")]) == 2
    assert "is there already" in capsys.readouterr().err
