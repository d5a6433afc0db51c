"""The stage takes an unlabelled folder of photos and says so; it stops with one line."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimflow.data.shards import Shards
from mimflow.params.read import read_yaml
from stages import shards

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the definition of the stages and 40 photos of several sizes."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for i in range(40):
        pixels = np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        place = tmp_path / "photos" / ("holiday" if i % 3 else "home") / f"{i:02d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.getvalue())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_params(**changes: object) -> None:
    values = read_yaml(ROOT / "presets/toy.yaml")
    values["data"] |= {"source": "photos", **changes}
    Path("params.yaml").write_text(json.dumps(values))  # JSON is YAML


def test_an_unlabelled_folder_has_shards_without_labels(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(kind="folder")
    assert shards.main([]) == 0
    assert "shards: photos is folder" in capsys.readouterr().err
    audit = json.loads(Path("data/audit.json").read_bytes())
    assert audit["kind"] == "folder" and audit["found"] == audit["sharded"] == 40
    for split in ("train", "test"):
        found = Shards(Path("data/index.json"), Path("data/shards"), split)
        assert len(found) == audit["splits"][split] and set(found.labels()) == {-1}
        assert found.label_names == []
        for i in range(len(found)):
            assert bytes(found.image(i)) == Path("photos", found.name(i)).read_bytes()


def test_too_many_broken_files_are_one_line_and_no_shards(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(5):
        Path(f"photos/home/broken{i}.jpg").write_bytes(b"x")
    write_params()
    assert shards.main([]) == 2
    *_, said, last = capsys.readouterr().err.split("\n")
    assert said.startswith("data.max_bad_fraction: 5 of 45 files cannot be read") and not last
    assert not Path("data/index.json").exists()


def test_a_wrong_kind_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(kind="coco")
    assert shards.main([]) == 2
    assert "data.kind: 'photos' holds nothing of the kind 'coco'" in capsys.readouterr().err
