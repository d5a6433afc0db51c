"""Several processes end with one exit code and one message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BODY = """
import os, sys
from mimflow.several import leave
rank = int(os.environ["RANK"])
code, message = {outcomes}[rank]
leave(code, message, rank)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcomes", "code", "error"),
    [
        ([(0, ""), (0, "")], 0, ""),
        ([(2, "bad batch"), (2, "bad batch")], 2, "bad batch\n"),
        ([(75, "stopped"), (75, "stopped")], 75, "stopped\n"),
        ([(0, ""), (3, "diverged")], 3, "process 1: diverged\n"),
    ],
)
def test_the_first_code_counts_and_its_message_stands_once(
    tmp_path: Path, outcomes: list[tuple[int, str]], code: int, error: str
) -> None:
    (tmp_path / "body.py").write_text(BODY.format(outcomes=outcomes))
    start = [sys.executable, "-m", "mimflow.several", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*start, str(tmp_path / "body.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (code, error)
