"""The bridge: what one program made goes on record in the other, and never anything else.

Each stage's outputs say what made them. Where that is what would make them now, DVC commits the
stage and Snakemake counts its files as up to date. Anything else is named and left as it is:
recording it would be a lie.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mimflow.hashes import Hashes
from mimflow.params.check import check
from mimflow.params.read import read_yaml
from mimflow.stage import Stage, is_current, load
from mimflow.workflow import refresh_code


def sync(touch: bool = True) -> int:
    """Exit code 0, or 2 if the outputs of a stage were not made by what would make them now."""
    params = read_yaml(Path("params.yaml"))
    check(params)
    stages = load(params)
    hashes = Hashes()
    absent = [s for s in stages.values() if not all(Path(o).exists() for o in s.outs)]
    present = [s for s in stages.values() if s not in absent]
    stale = [s for s in present if not is_current(s, stages, hashes)]
    if not stale:
        refresh_code(stages)
        stale = [s for s in present if not is_current(s, stages, hashes)]
    if stale:
        print(
            f"sync: not made by the present params.yaml, code and inputs: {_names(stale)}; "
            "nothing was recorded for them. "
            "Run `make snakemake` or `dvc repro`, or take the change back.",
            file=sys.stderr,
        )
    _commit([s for s in present if s not in stale and not (stale and s.kind == "code")])
    if absent:
        print(f"sync: not made yet: {_names(absent)}", file=sys.stderr)
    elif touch and not stale:
        _touch()
    return 2 if stale else 0


def _names(stages: list[Stage]) -> str:
    return ", ".join(s.name for s in stages)


def _commit(stages: list[Stage]) -> None:
    if stages:
        command = [sys.executable, "-m", "dvc", "commit", "--quiet", "--force", "--no-relink"]
        subprocess.run([*command, *(s.name for s in stages)], check=True)


def _touch() -> None:
    """Snakemake writes its records for files that are right, without running anything."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--touch",
        "--forceall",
        "--cores",
        "1",
        "--quiet",
        "all",
    ]
    subprocess.run(command, check=True, env={**os.environ, "MIMFLOW_TOUCH": "1"})
