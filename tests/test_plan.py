"""What a params file would cost is told without the data and without a cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mimflow.__main__ import main
from mimflow.params.read import read_yaml
from mimflow.plan import make_plan
from mimflow.report.plan import stated
from mimflow.sizes import flops_of

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty repository: the definition, no data, no cluster."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for name in ("mimflow", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "slurm").symlink_to(ROOT / "workflow/profiles/slurm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mimflow.queue.partitions", lambda: None)  # whatever runs on this machine


def large(**data: Any) -> Path:
    """ViT-L/16 at 224 pixels, 1600 epochs of 1,281,167 images that are not here."""
    values = read_yaml(ROOT / "presets/toy.yaml")
    values["data"] |= {"source": "data/raw/large", "num_shards": 1024, **data}
    shape = {"img_size": 224, "patch_size": 16, "embed_dim": 1024, "depth": 24, "num_heads": 16}
    for run in values["runs"].values():
        run["encoder"] = {"kind": "vit", "name": "vit_large_patch16_224", **shape}
        run["decoder"] = {"width": 512, "depth": 8, "num_heads": 16}
        run |= {"samples": 1600 * 1_281_167, "batch": 4096}
    values["controls"]["random"]["encoder"] = values["runs"]["mae"]["encoder"]
    values["features"]["train_images"] = 50_000
    Path("large.yaml").write_text(yaml.safe_dump(values))
    return Path("large.yaml")


def test_a_large_preset_is_planned_without_its_data_and_without_a_cluster() -> None:
    plan = make_plan(large(), {"": 1000.0}, 150 * 10**9)
    assert plan.run["pretrain"] == 2 and plan.run["knn"] == 4 and not plan.cached
    assert plan.jobs["shards"] == 9  # eight parts, as the profile says, and the index
    hours, source = plan.hours["mae"]
    assert hours == pytest.approx(1600 * 1_281_167 / 1000 / 3600) and "stated" in source
    assert plan.missing[0] == "data: data/raw/large" and "cluster" in plan.missing[-1]


def test_disk_is_shards_features_encoders_and_checkpoints() -> None:
    disk = make_plan(large(), {"": 1000.0}, 150 * 10**9).disk
    assert disk["shards (as large as the source)"] == 150 * 10**9
    encoder = 303_301_632  # ViT-L/16 without a head
    assert disk["encoders"] == 2 * 4 * encoder
    checkpoints = disk["checkpoints, while the runs last"]
    assert checkpoints is not None  # three of two runs, three numbers for each parameter
    assert 3 * 2 * 3 * 4 * encoder < checkpoints < 3 * 2 * 3 * 4 * 1.1 * encoder
    runs_and_draws = 2 + 3  # of 50,000 class tokens and means; pixels of 32 x 32 beside them
    assert disk["features"] == 4 * 50_000 * (runs_and_draws * 2 * 1024 + 3 * 32 * 32)


def test_what_is_not_known_is_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    large()
    assert main(["plan", "--params", "large.yaml", "--images-per-second", "mae=500"]) == 0
    text = capsys.readouterr().out
    assert "1,138.82" in text and "arithmetic" in text and "unknown: state --source-gb" in text
    assert "missing: data: data/raw/large" in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--images-per-second", "fast"], "'fast'; allowed: RATE or RUN=RATE"),
        (["--images-per-second", "mea=5"], "no run mea; mae, mae-half"),
        (["--images-per-second", "mae=-5"], "the rate should be positive"),
        (["--preset", "nothing"], "presets/nothing.yaml: no such file"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(large(), "params.yaml")
    assert main(["plan", *arguments]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1


def test_a_mistake_in_the_file_is_told_apart_from_absent_data() -> None:
    with pytest.raises(ValueError, match="num_shards: 0 is not allowed"):
        make_plan(large(num_shards=0), {}, None)


def test_stored_targets_and_trained_teachers_are_in_the_plan() -> None:
    values = read_yaml(ROOT / "presets/zoo.yaml")
    values["data"]["source"] = "data/raw/large"
    Path("zoo.yaml").write_text(yaml.safe_dump(values))
    plan = make_plan(Path("zoo.yaml"), {"moco": 1.0, "": 1000.0}, 10**6)
    assert plan.run["teachers"] == 4 and plan.run["targets"] == 1
    assert {"teachers@moco", "teachers@caption"} <= set(plan.hours)
    assert "teachers@random-vit" not in plan.hours  # nothing is trained
    tokens, whole, attention = 64 * 32, 32, 64
    size = plan.disk["targets of-moco, 2 crops of 1,000 images"]
    assert size == 2 * 2 * 1000 * (tokens + whole + attention)
    Path("data").mkdir()
    Path("data/index.json").write_text('{"splits": {"train": 500}}')
    plan = make_plan(Path("zoo.yaml"), {"": 1000.0}, 10**6)
    assert plan.disk["targets of-moco, 2 crops"] == size // 2


def test_a_recorded_rate_is_used_where_an_image_costs_the_same() -> None:
    Path("costs/pretrain").mkdir(parents=True)
    file = large()
    cost = {"images": 3600, "seconds": 1.0, "processes": 2, "device": "some GPU"}
    flops = flops_of("mae", read_yaml(file)["runs"]["mae"])
    assert flops is not None
    for gflop, used in ((flops / 1e9, True), (flops / 2e9, False)):
        Path("costs/pretrain/mae.json").write_text(json.dumps(cost | {"gflop_per_image": gflop}))
        hours, source = make_plan(file, {"mae-half": 1.0}, None).hours["mae"]
        assert ("some GPU" in source) == used
        assert (hours == pytest.approx(1600 * 1_281_167 / 1800 / 3600)) == used
    assert stated(["5", "mae=7"]) == {"": 5.0, "mae": 7.0}
