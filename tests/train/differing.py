"""Two processes that see different states of one run: for test_processes.py.

usage: differing.py OUT, by torchrun
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

import mimflow  # noqa: F401
from mimflow.ranks import discover
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.processes import joined


def main(out: str) -> None:
    found = discover()
    with joined(found):
        folder = Path(out) / f"sees-{found.rank}" / "state"
        keep = Checkpoints(folder, writer=found.rank == 0)
        folder.mkdir(parents=True, exist_ok=True)
        seen = []
        for mine in ([], [3], [3, 4])[found.rank :]:  # the second is a step ahead of the first
            for step in mine:
                torch.save({"run": "state", "step": step}, folder / f"{step:012d}.pt")
            state = keep.latest()
            seen.append(state and state["step"])
            if len(seen) == 2:
                break
        (Path(out) / f"{found.rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
