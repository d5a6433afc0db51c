"""A row is made again in a folder that has all it reads: `tests/workflow` runs it whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimflow.verify import _lay_out


def test_every_file_that_an_entry_is_given_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    built = {"kind": "vqkd", "needs": "runs/mae/encoder.safetensors"}
    params = {
        "data": {"source": "raw"},
        "encoders": {"given": {"weights": "in/encoder.safetensors"}},
        "teachers": {"clip": {"kind": "imported", "needs": "in/clip.safetensors"}},
        "tokenizers": {"dalle": {"kind": "dalle", "needs": "in/dalle.pt"}, "own": built},
    }
    _lay_out(Path("again"), [], params)
    laid = {str(p.relative_to("again")) for p in Path("again").rglob("*") if p.is_symlink()}
    files = {"in/encoder.safetensors", "in/clip.safetensors", "in/dalle.pt"}
    assert laid == files | {"raw", "params.yaml", "dvc.yaml"}
