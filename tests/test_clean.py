"""`mimflow clean-state` removes what no present stage can use, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mimflow.__main__ import main
from mimflow.hashes import Hashes
from mimflow.stage import load, owners
from mimflow.workflow import listing, parts_of

ROOT = Path(__file__).parents[1]


def test_state_of_present_stages_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for name in ("dvc.yaml", "params.yaml", "data/scenes.yaml"):
        shutil.copy(ROOT / name, name)
    stages = load()
    made = stages["shards"].made_by(owners(stages), Hashes())["hash"][:16]
    parts = parts_of(stages, listing(stages))
    kept = {f"shards-{made}", f"shards-{parts}", "pretrain-mae-0123456789abcdef"}
    gone = {"shards-0123456789abcdef", "pretrain-other-0123456789abcdef"}
    for name in kept | gone:
        Path("state", name).mkdir()
        Path("state", name, "file").write_text("x")
    assert main(["clean-state", "--list"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in gone) and "removed" not in told
    assert "pretrain-mae-0123456789abcdef: 0.0 MB, kept: inputs of its stage are missing" in told
    assert main(["clean-state"]) == 0
    assert {p.name for p in Path("state").iterdir() if p.is_dir()} == kept
