"""A preset in a workspace of its own: a git worktree with that preset as its params.yaml and its
own dvc.lock.

The DVC cache, the virtual environment and the raw data are shared with this checkout: what was
computed here is not computed there again, and the other way round.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from mimflow.params.check import nearest


def make_workspace(preset: str, folder: Path) -> None:
    """Raises ValueError for an unknown preset or a folder that is there already."""
    source = Path("presets") / f"{preset}.yaml"
    if not source.exists():
        known = [p.stem for p in Path("presets").glob("*.yaml")]
        raise ValueError(f"presets/{preset}.yaml: no such preset ({nearest(preset, known)})")
    if folder.exists():
        raise ValueError(f"{folder}: is there already")
    _run("git", "worktree", "add", "--quiet", "--detach", str(folder))
    shutil.copyfile(source, folder / "params.yaml")
    lock = Path("results") / preset / "dvc.lock"
    if lock.exists():
        shutil.copyfile(lock, folder / "dvc.lock")
    else:
        (folder / "dvc.lock").unlink(missing_ok=True)
    _run("git", "-C", str(folder), "rm", "-r", "--quiet", "--cached", "--ignore-unmatch", "metrics")
    shutil.rmtree(folder / "metrics", ignore_errors=True)
    (folder / "metrics").mkdir()  # the report reads it, whatever is evaluated
    _link(folder / ".venv", Path(".venv"))
    _link(folder / "data" / "raw", Path("data/raw"))
    cache = Path(".dvc/cache").resolve()
    cache.mkdir(parents=True, exist_ok=True)
    (folder / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {cache}\n")
    print(f"{folder}: {preset} is its params.yaml; `make run` or `make snakemake` there")


def _link(place: Path, target: Path) -> None:
    if target.exists() and not place.exists():
        place.symlink_to(target.resolve())


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
