"""A teacher that is trained on two processes is the one that is trained on one, to rounding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy import make_shards

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_processes_train_the_teachers_of_one(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_shards(tmp_path / "data")
    environment = os.environ | {"CI": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(HERE.parents[1])}
    for count in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(count), str(HERE / "several.py"), "."]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-2000:]
    for kind in ("mocov3", "caption"):
        one, two = (load_file(tmp_path / f"{kind}-{count}.safetensors") for count in (1, 2))
        for name, x in one.items():
            # Four steps of AdamW, which scales tiny gradients up: rounding of the largest.
            torch.testing.assert_close(two[name], x, rtol=1e-3, atol=2e-4, msg=f"{kind} {name}")
