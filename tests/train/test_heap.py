"""Freed memory stays with the process, in one that asked for it."""

from __future__ import annotations

import subprocess
import sys

# Prints the MB that stay of 256 MB that were written and freed.
FREED = r"""
import sys
from pathlib import Path
import numpy as np
from mimflow.train.heap import keep_freed
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
if sys.argv[1] == "kept":
    assert keep_freed()
np.ones(1000).sum()
before = resident()
data = np.ones(1 << 25)
del data
print(resident() - before)
"""


def freed(how: str) -> float:
    command = [sys.executable, "-c", FREED, how]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_freed_memory_is_kept_where_that_was_asked_for_and_given_back_elsewhere() -> None:
    assert freed("kept") > 250
    assert freed("given back") < 10
