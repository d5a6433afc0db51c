"""A source behind a URL in the real workflow: DVC and Snakemake see when it changes."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from s3 import BUCKET, put, server

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.workflow]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def prepared(path: Path) -> None:
    path.mkdir()
    for name in ("mimflow", "stages", "workflow", "presets", ".dvc"):
        ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
        shutil.copytree(ROOT / name, path / name, ignore=ignored)
    for name in ("Snakefile", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, path / name)
    text = (ROOT / "presets/toy.yaml").read_text()
    params = text.replace("data/scenes-toy.yaml", f"s3://{BUCKET}/photos")
    assert params != text
    (path / "params.yaml").write_text(params)


def test_a_changed_prefix_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "repo"
    prepared(path)
    with server() as environment:

        def run(*command: str, code: int = 0) -> str:
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=path,
                env={**os.environ, **environment, "PYTHONPATH": str(path), "MIMFLOW_TOUCH": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
            )
            assert done.returncode == code, done.stdout
            return done.stdout

        for i in range(20):
            put(environment, f"photos/{i:02d}.png", picture(i))
        subprocess.run(["git", "init", "-q"], cwd=path, check=True)
        run("mimflow", "check")
        run("dvc", "repro", "shards")
        audit = path / "data/audit.json"
        assert json.loads(audit.read_bytes())["sharded"] == 20
        assert "up to date" in run("dvc", "status", "shards")
        snakemake = ("snakemake", "--cores", "1", "data/index.json")
        run(*snakemake, "--touch", "--forceall")
        assert "Nothing to be done" in run(*snakemake, "-n")

        put(environment, "photos/20.png", picture(20))
        assert f"s3://{BUCKET}/photos" in run("dvc", "status", "shards")
        assert "rule shards" in run(*snakemake, "-n")
        run("dvc", "repro", "shards")
        assert json.loads(audit.read_bytes())["sharded"] == 21

        put(environment, "photos/20.png", picture(21))  # as many files, another content
        assert "rule shards" in run(*snakemake, "-n")
