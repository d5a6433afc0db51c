"""New runs are flat entries; the file keeps its comments and everything else."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import pytest

from mimflow.__main__ import main
from mimflow.params.check import check
from mimflow.params.read import read_yaml

ROOT = Path(__file__).parents[1]
FILE = Path("params.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", FILE)
    shutil.copytree(
        ROOT / "data",
        "data",
        ignore=lambda path, names: [n for n in names if not n.endswith(".yaml")],
    )


def changed_lines(before: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), FILE.read_text().splitlines())
    return [line for line in lines if line[0] in "+-"]


def test_nothing_but_the_new_lines_changes() -> None:
    before = FILE.read_text()
    assert main(["new-run", "other", "--like", "mae", "--set", "mask_ratio=0.5"]) == 0
    lines = changed_lines(before)
    removed = [line for line in lines if line[0] == "-"]
    listed = read_yaml(ROOT / "params.yaml")["evaluate"].items()
    expected = [f"-   {t}: [{', '.join(names)}]" for t, names in listed if "mae" in names]
    assert removed == expected and len(removed) >= 3
    values = read_yaml(FILE)
    check(values)
    assert values["runs"]["other"] == {**values["runs"]["mae"], "mask_ratio": 0.5}
    assert values["evaluate"]["knn"] == ["mae", "other", "random", "pixels"]


def test_a_grid_is_one_run_for_each_point() -> None:
    assert (
        main(
            [
                "new-run",
                "g",
                "--like",
                "mae",
                "--grid",
                "seed=0,1",
                "--grid",
                "optimiser.base_lr=1e-3,2e-3",
            ]
        )
        == 0
    )
    values = read_yaml(FILE)
    check(values)
    added = {
        k: (v["seed"], v["optimiser"]["base_lr"]) for k, v in values["runs"].items() if k != "mae"
    }
    assert sorted(added.values()) == [(0, 0.001), (0, 0.002), (1, 0.001), (1, 0.002)]
    assert values["evaluate"]["knn"] == ["mae", *added, "random", "pixels"]


def test_a_new_encoder_gets_its_own_control() -> None:
    assert main(["new-run", "deep", "--like", "mae", "--set", "encoder.depth=6"]) == 0
    values = read_yaml(FILE)
    check(values)
    assert values["controls"]["random-deep"]["encoder"]["depth"] == 6
    assert "random-deep" in values["evaluate"]["linear"]


def test_a_tokenizer_and_the_run_on_it_get_seeds() -> None:
    shutil.copy(ROOT / "presets/zoo.yaml", FILE)
    assert main(["new-run", "perceptual", "--like", "perceptual", "--grid", "seed=1,2"]) == 0
    needs = "tokenizers/perceptual-seed1/weights.safetensors"
    assert main(["new-run", "peco-1", "--like", "peco", "--set", f"needs={needs}"]) == 0
    values, before = read_yaml(FILE), read_yaml(ROOT / "presets/zoo.yaml")
    check(values)
    again = values["tokenizers"]["perceptual-seed2"]
    assert again == {**before["tokenizers"]["perceptual"], "seed": 2}
    assert values["taught"]["peco-1"] == {**before["taught"]["peco"], "needs": needs}
    assert values["runs"] == before["runs"] and values["controls"] == before["controls"]
    listed = [n for n in values["evaluate"]["knn"] if n.startswith(("peco", "perceptual"))]
    assert listed == ["peco", "peco-1", "peco-pixels"]
    assert main(["new-run", "vqkd", "--like", "perceptual"]) == 2  # the name of another


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mae", "--like", "mae"], "'mae' is there already"),
        (["x", "--like", "mea"], "'mea' is no run, teacher or tokenizer (nearest: mae;"),
        (
            ["x", "--like", "mae", "--set", "mask_ration=0.5"],
            "'mask_ration' is no key of the entry (nearest: mask_ratio;",
        ),
        (
            ["x", "--like", "mae", "--set", "mask_ratio=1.5"],
            "runs.x.mask_ratio: 1.5 is not allowed",
        ),
        (["x", "--like", "mae", "--set", "seed"], "key=value is expected"),
        (["x", "--like", "mae", "--set", "seed=[1"], "seed=[1: "),
        (["X.1", "--like", "mae"], "is no name"),
    ],
)
def test_a_mistake_leaves_the_file_alone(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = FILE.read_bytes()
    assert main(["new-run", *arguments]) == 2
    assert expected in capsys.readouterr().err
    assert FILE.read_bytes() == before
    assert sorted(p.name for p in Path().glob("params*")) == ["params.yaml"]
