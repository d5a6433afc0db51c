"""A git repository with the sources of this one, for tests of the real workflow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROFILE = ("--workflow-profile", "workflow/profiles/default")


class Repository:
    """A git repository with the sources of this one and the toy preset."""

    def __init__(self, path: Path):
        self.path = path

    def __call__(self, *command: str, code: int | None = 0, **environment: str) -> str:
        """Output and errors of the command; asserts its exit code."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        names = {k: v for k, v in os.environ.items() if not k.startswith(("MIMFLOW_", "PYTEST_"))}
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**names, "PATH": path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert code is None or done.returncode == code, done.stdout
        return done.stdout

    def planned(self) -> set[str]:
        """The jobs that Snakemake would run."""
        text = self("snakemake", "-n", *PROFILE)
        if "Nothing to be done" in text:
            return set()
        jobs = re.findall(r"^(?:local)?rule (\w+):$(.*?)(?=^\[|^Job stats)", text, re.M | re.S)
        found = set()
        for rule, body in jobs:
            key = re.search(r"wildcards: key=(\S+)", body)
            found.add(f"{rule}@{key[1]}" if key else rule)
        return found - {"all"}

    def stale(self) -> set[str]:
        """The stages that DVC would run for a reason of their own."""
        text = self("dvc", "status", "--json")
        return set(json.loads(text))

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.path / file).read_text()
        assert text.count(old) >= 1, f"{old!r} is not in {file}"
        (self.path / file).write_text(text.replace(old, new))

    def artifacts(self) -> dict[str, bytes]:
        """The encoders, curves, pictures, features, metrics and the report."""
        names = [
            p
            for f in ("runs", "features", "metrics", "report", "data/shards")
            for p in (self.path / f).rglob("*")
        ]
        return {
            str(p.relative_to(self.path)): p.read_bytes()
            for p in names
            if p.is_file() and p.name != ".gitignore"
        }


def make_repository(path: Path) -> Repository:
    """With the toy preset as its parameters; nothing is made yet."""
    ignored = shutil.ignore_patterns(
        "__pycache__",
        "shards",
        "raw",
        "index.json",
        "audit.json",
        "made.json",
        "cache",
        "tmp",
        "config.local",
    )
    path.mkdir()
    for name in ("mimflow", "stages", "workflow", "data", "presets", ".dvc"):
        shutil.copytree(ROOT / name, path / name, ignore=ignored)
    for name in ("Snakefile", "dvc.yaml", ".dvcignore", ".gitignore", "Makefile"):
        shutil.copy(ROOT / name, path / name)
    (path / "slurm").symlink_to("workflow/profiles/slurm")
    shutil.copy(ROOT / "presets/toy.yaml", path / "params.yaml")
    repo = Repository(path)
    repo("git", "init", "-q")
    repo("git", "add", "-A")
    repo("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start")
    return repo
