"""Workers are as many as the images need; room for them is made before torch is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy import LIMIT, make_shards

from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import open_source
from mimflow.data.workers import in_memory, make_room, workers_for


def photos(folder: Path) -> Shards:
    """Twenty files of many sizes."""
    (folder / "files").mkdir()
    for i in range(20):
        pixels = np.full((20 + i, 30, 3), i, np.uint8)
        Image.fromarray(pixels).save(folder / "files" / f"{i:02d}.png")
    source = open_source(str(folder / "files"))
    write_part(source, folder / "shards", 0, 1, 1, 0.0, LIMIT)
    merge(source, folder / "shards", folder / "index.json", folder / "audit.json", 1, 0.0)
    return Shards(folder / "index.json", folder / "shards", "train")


def test_images_of_one_size_need_no_worker_and_threads_may_spin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIMFLOW_WORKERS", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    shards = make_shards(tmp_path)
    assert in_memory(shards) and workers_for(shards) == 0
    make_room(shards)
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.setenv("MIMFLOW_WORKERS", "3")
    assert workers_for(shards) == 3


def test_beside_workers_threads_sleep_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIMFLOW_WORKERS", raising=False)
    shards = photos(tmp_path)
    assert not in_memory(shards) and workers_for(shards) == min(len(os.sched_getaffinity(0)), 8)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    make_room(shards)
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    make_room(shards)
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.delenv("OMP_WAIT_POLICY")


def test_it_is_known_before_torch_is_imported() -> None:
    """OpenMP reads its settings once, when torch brings it."""
    command = "import sys, stages.pretrain, mimflow.data.workers; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
